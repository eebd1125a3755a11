"""Text completions put together from pieces: the form of createCompletion's answers, whoever says the words.

An engine, or a chat model asked once a prompt, brings ``Source``s; what is the same for all of them is here: the
numbers of the choices, the best of several candidates, log probabilities and their offsets, usage, streams.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

from msgspec import Struct

from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.kit.ids import new_id
from everloom.kit.sse import DONE, frame
from everloom.models.merged_stream import MergedStream
from everloom.objects.base import JsonObject, encode


class Token(Struct, frozen=True, kw_only=True):
    """A token as clients see it: its text, its log probability (None: nothing stood before it), its rivals'."""

    text: str
    logprob: float | None
    top: dict[str, float] | None = None
    width: int | None = None
    """Characters that it takes in the text, where these are not those of ``text`` (a piece of a character)."""


class Piece(Struct, frozen=True, kw_only=True):
    """What is said next of one candidate.

    ``choice`` numbers candidates through all prompts. ``echo``: it is the prompt said back, no part of the answer.
    ``prompt_tokens`` and ``completion_tokens`` are added up; a piece with ``uncounted`` says that nobody knows.
    """

    choice: int
    text: str = ""
    tokens: Sequence[Token] | None = None
    finish: str | None = None
    echo: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: bool = False


Source = Callable[[], AsyncGenerator[Piece, None]]
"""Says one or several candidates to their end."""


class Plan(Struct, frozen=True, kw_only=True):
    """What was asked for. ``each``: candidates a prompt, of which the best ``n`` are shown.

    ``logprobs``: rivals shown a token, None without log probabilities. ``starts``: for each prompt, the offset in
    characters at which the first token of its answer stands; the reference counts them from the prompt's
    beginning, said back or not. ``prompt_tokens``: those known beforehand.
    """

    model: str
    fingerprint: str | None
    starts: Sequence[int]
    n: int
    each: int
    logprobs: int | None
    streams: bool
    with_usage: bool
    prompt_tokens: int = 0


def plan_of(body: JsonObject, starts: Sequence[int], *, fingerprint: str | None = None, prompt_tokens: int = 0) -> Plan:
    """The plan of a createCompletion request that has been checked."""
    n = body.get("n") or 1
    return Plan(
        model=body["model"],
        fingerprint=fingerprint,
        starts=starts,
        n=n,
        each=max(n, body.get("best_of") or 1),
        logprobs=body.get("logprobs"),
        streams=bool(body.get("stream")),
        with_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        prompt_tokens=prompt_tokens,
    )


def prompts_of(body: JsonObject) -> list[str | list[int] | None]:
    """The prompts of a request, in whichever of its four forms they came; None: the beginning of a new text."""
    prompt = body.get("prompt")
    if prompt is None or isinstance(prompt, str):
        return [prompt]
    return [prompt] if isinstance(prompt[0], int) else list(prompt)


def stops_of(body: JsonObject) -> list[str]:
    """The stop sequences of a request."""
    stop = body.get("stop") or []
    return [text for text in ([stop] if isinstance(stop, str) else stop) if text]


def unsupported(name: str, why: str) -> BadRequest:
    """The refusal of a parameter that would have to be dropped in silence."""
    return BadRequest(
        f"Unsupported parameter: '{name}' is not supported {why}", param=name, code="unsupported_parameter"
    )


class TextAnswer:
    """The answer of several sources, at most ``max_concurrency`` of them speaking at a time."""

    hides_usage = False
    """It tells its usage to those alone who have asked for it."""

    def __init__(self, plan: Plan, sources: Sequence[Source], max_concurrency: int) -> None:
        self.model = plan.model
        self.content_type = "text/event-stream; charset=utf-8" if plan.streams else "application/json"
        self._plan = plan
        self._waiting = deque(sources)
        self._speakers = min(max_concurrency, len(sources))
        self._said: MergedStream[Piece] = MergedStream()
        self._usage = _Tally(plan.prompt_tokens)
        head: JsonObject = {"id": new_id("cmpl-"), "object": "text_completion", "created": now(), "model": plan.model}
        self._head = head if plan.fingerprint is None else {**head, "system_fingerprint": plan.fingerprint}

    async def begin(self) -> None:
        """Ask, and return with the first words. Errors: the sources'."""
        speakers = (self._listen() for _ in range(self._speakers))
        await self._said.begin(speakers, lambda piece: bool(piece.text or piece.finish))

    async def close(self) -> None:
        """Silence whoever still speaks."""
        self._waiting.clear()
        await self._said.close()

    async def blocks(self) -> AsyncIterator[bytes]:
        """The answer's bytes."""
        if self._plan.streams:
            async for block in self._chunks():
                yield block
        else:
            yield await self.whole()

    async def whole(self) -> bytes:
        """The answer that is not streamed."""
        choices = [_Choice(start, self._plan.logprobs) for start in self._plan.starts for _ in range(self._plan.each)]
        async for piece in self._pieces():
            choices[piece.choice].add(piece)
        shown = []
        for first in range(0, len(choices), self._plan.each):
            candidates = choices[first : first + self._plan.each]
            if self._plan.each > self._plan.n:
                candidates = sorted(candidates, key=_Choice.likelihood, reverse=True)[: self._plan.n]
            shown += candidates
        answer = {**self._head, "choices": [choice.render(index) for index, choice in enumerate(shown)]}
        return encode(answer | ({"usage": self._usage.render()} if self._usage.known else {}))

    async def _chunks(self) -> AsyncIterator[bytes]:
        """Every piece as an event of its own, in the order in which they are said."""
        plan = self._plan
        rest: JsonObject = {"usage": None} if plan.with_usage else {}
        at = [start for start in plan.starts for _ in range(plan.each)]
        async for piece in self._pieces():
            if not piece.text and piece.finish is None:
                continue
            shown, at[piece.choice] = _logprobs(piece.tokens, plan.logprobs, 0 if piece.echo else at[piece.choice])
            choice = {"text": piece.text, "index": piece.choice, "logprobs": shown, "finish_reason": piece.finish}
            yield frame(encode({**self._head, "choices": [choice], **rest}))
        counted = plan.with_usage and self._usage.known
        last = frame(encode({**self._head, "choices": [], "usage": self._usage.render()})) if counted else b""
        yield last + frame(DONE)

    async def _listen(self) -> AsyncGenerator[Piece, None]:
        while self._waiting:
            async with aclosing(self._waiting.popleft()()) as pieces:
                async for piece in pieces:
                    yield piece

    async def _pieces(self) -> AsyncIterator[Piece]:
        async for piece in self._said.pieces():
            self._usage.add(piece)
            yield piece


class _Tally:
    """Tokens read and written so far."""

    def __init__(self, read: int) -> None:
        self.known = True
        self._read = read
        self._written = 0

    def add(self, piece: Piece) -> None:
        self._read += piece.prompt_tokens
        self._written += piece.completion_tokens
        self.known = self.known and not piece.uncounted

    def render(self) -> JsonObject:
        total = self._read + self._written
        return {"prompt_tokens": self._read, "completion_tokens": self._written, "total_tokens": total}


class _Choice:
    """Gathers the pieces of one candidate."""

    def __init__(self, start: int, top: int | None) -> None:
        self._start = start
        self._top = top
        self._text: list[str] = []
        self._tokens: list[Token] = []
        self._scores: list[float] = []
        self._finish = "stop"

    def add(self, piece: Piece) -> None:
        self._text.append(piece.text)
        self._tokens += piece.tokens or ()
        if piece.echo:
            self._start = 0
        else:
            self._scores += [token.logprob for token in piece.tokens or () if token.logprob is not None]
        self._finish = piece.finish or self._finish

    def likelihood(self) -> float:
        """The mean log probability of the answer's tokens, by which the reference tells the best."""
        return sum(self._scores) / len(self._scores) if self._scores else float("-inf")

    def render(self, index: int) -> JsonObject:
        tokens = self._tokens if self._top is not None else None
        logprobs, _ = _logprobs(tokens, self._top, self._start)
        return {"text": "".join(self._text), "index": index, "logprobs": logprobs, "finish_reason": self._finish}


def _logprobs(tokens: Sequence[Token] | None, top: int | None, at: int) -> tuple[JsonObject | None, int]:
    """Tokens as the reference's four lists, and where the next one stands. Tokens without text (the end) are none."""
    if top is None:
        return None, at
    offsets, told = [], [token for token in tokens or () if token.text]
    for token in told:
        offsets.append(at)
        at += len(token.text) if token.width is None else token.width
    return {
        "tokens": [token.text for token in told],
        "token_logprobs": [token.logprob for token in told],
        "top_logprobs": [token.top for token in told],
        "text_offset": offsets,
    }, at
