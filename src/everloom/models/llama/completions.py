"""Legacy completions on a local model: the prompt goes to the engine as tokens, without a chat template.

Each candidate is a request of its own to the engine's native endpoint. What that lacks is done here, from what it
does tell: several prompts, ``n``, ``best_of``, ``echo``, and the log probabilities of the prompt's own tokens.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

import msgspec
from msgspec import Struct

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.completion_text import Piece, TextAnswer, Token, plan_of, prompts_of, stops_of, unsupported
from everloom.models.llama.cutter import Cutter
from everloom.models.llama.engine import LlamaEngine
from everloom.models.llama.sampling import Sampling
from everloom.objects.base import JsonObject

DEFAULT_TOKENS = 16
"""``max_tokens`` where a request does not say, as in the reference."""

NEW_TEXT = "<|endoftext|>"
"""What stands before a text in the reference; models without such a token begin behind their own end of text."""

FILL_IN_MARKS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
)
"""How families of models mark what stands before a gap, behind it, and the gap (their model cards)."""

_OURS = {
    "model",
    "prompt",
    "best_of",
    "echo",
    "logprobs",
    "max_tokens",
    "n",
    "stop",
    "stream",
    "stream_options",
    "suffix",
}
_SAMPLING = {"frequency_penalty", "logit_bias", "presence_penalty", "seed", "temperature", "top_p"}
_KNOWN = _OURS | _SAMPLING | {"user"}
_RANDOM_SEED = 2**32 - 1
_WHOLE_TEXT = 1 << 17
_SCORED_AT_ONCE = 256
"""Tokens of a prompt that are scored in one request, so that others get a slot in between."""

_BYTES_A_TOKEN = 256
"""Far more than tokens have: a text longer than its window's worth is refused before it is cut into tokens."""


Generate = Callable[[JsonObject], AsyncGenerator[bytes, None]]
"""Asks the engine's native completion endpoint; the answer's events as they come."""

ENDPOINT = "/completion"


async def complete(
    engine: LlamaEngine, generate: Generate, body: JsonObject, *, fingerprint: str, slots: int, sampling: Sampling
) -> TextAnswer:
    """createCompletion; returns with the first words. ``slots``: requests that the engine serves at once. ``sampling``:
    how the model samples where the request does not say.

    Errors: 400 for prompts that are too long, tokens that the model does not have, parameters it cannot honour.
    """
    for name, value in body.items():
        if value is not None and name not in _KNOWN:
            raise unsupported(name, "with this model.")
    most = DEFAULT_TOKENS if body.get("max_tokens") is None else body["max_tokens"]
    prompts = [await _read(engine, body, prompt, most) for prompt in prompts_of(body)]
    read = sum(len(prompt.tokens) for prompt in prompts)
    plan = plan_of(body, [len(prompt.text) for prompt in prompts], fingerprint=fingerprint, prompt_tokens=read)
    if plan.logprobs is not None and body.get("echo"):
        names = _Names(engine)
        for prompt in prompts:
            await prompt.name_tokens(names)
    sampled = _sampling(body, sampling)
    speakers = [
        _Candidate(generate, body, sampled, most, prompt, plan.logprobs, rank=plan.each > plan.n) for prompt in prompts
    ]
    sources = [
        partial(speaker.say, number * plan.each + candidate, candidate)
        for number, speaker in enumerate(speakers)
        for candidate in range(plan.each)
    ]
    answer = TextAnswer(plan, sources, slots)
    await answer.begin()
    return answer


class _Prompt:
    """A prompt: its text, and the tokens that the model reads, of which the first ``begun`` are no part of the text."""

    def __init__(self, text: str, tokens: list[int], begun: int) -> None:
        self.text = text
        self.tokens = tokens
        self.begun = begun
        self.names: list[str] = []

    async def name_tokens(self, names: "_Names") -> None:
        """Find the text of each token; refuses prompts in which a character takes several tokens."""
        self.names = [await names.of(token) for token in self.tokens[self.begun :]]
        if "".join(self.names) == f" {self.text}":  # some tokenizers set a space before every text
            self.names[0] = self.names[0][1:]
        if "".join(self.names) != self.text or any("\N{REPLACEMENT CHARACTER}" in name for name in self.names):
            raise unsupported(
                "logprobs",
                "together with 'echo' for this prompt: the local engine does not tell the log probabilities of "
                "characters that take this model several tokens.",
            )


class _Names:
    """The texts of tokens as they stand behind others (at the beginning, some tokenizers cut a space off)."""

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine = engine
        self._known: dict[int, str] = {}
        self._before: tuple[int, str] | None = None

    async def of(self, token: int) -> str:
        if self._before is None:
            before = (await _tokens(self._engine, "a", whole=False))[-1]
            self._before = before, await _text(self._engine, [before])
        if token not in self._known:
            before, text = self._before
            self._known[token] = (await _text(self._engine, [before, token]))[len(text) :]
        return self._known[token]


async def _read(engine: LlamaEngine, body: JsonObject, prompt: str | list[int] | None, most: int) -> _Prompt:
    """The prompt in tokens. Refuses what does not fit the model's window together with the answer."""
    text = "" if prompt is None or isinstance(prompt, list) else prompt
    if len(text.encode("utf-8", "replace")) > engine.context * _BYTES_A_TOKEN:
        raise _too_long(engine.context, len(text) // _BYTES_A_TOKEN, most)
    begun = 0
    if isinstance(prompt, list):
        if len(prompt) > engine.context:
            raise _too_long(engine.context, len(prompt), most)
        tokens, text = prompt, await _text(engine, prompt)
    else:
        tokens = await _tokens(engine, text, whole=True)
        begun = len(tokens) - len(await _tokens(engine, text, whole=False)) if tokens else 0
    if not tokens:
        tokens, begun = [await _new_text(engine)], 1
    if body.get("suffix"):
        tokens, begun = await _around_gap(engine, tokens, body["suffix"]), 0
    if len(tokens) + most > engine.context:
        raise _too_long(engine.context, len(tokens), most)
    return _Prompt(text, tokens, begun)


async def _tokens(engine: LlamaEngine, text: str, *, whole: bool) -> list[int]:
    asked = {"content": text, "add_special": whole, "parse_special": True}
    tokens: list[int] = (await engine.ask("/tokenize", asked))["tokens"]
    return tokens


async def _text(engine: LlamaEngine, tokens: list[int]) -> str:
    try:
        text: str = (await engine.ask("/detokenize", {"tokens": tokens}))["content"]
    except ModelFailure as error:
        if error.status != 500:
            raise
        raise BadRequest(
            "Invalid 'prompt': it has tokens that are not in this model's vocabulary.",
            param="prompt",
            code="invalid_value",
        ) from error
    return text


async def _new_text(engine: LlamaEngine) -> int:
    """The token behind which a new text begins."""
    tokens = await _tokens(engine, NEW_TEXT, whole=False)
    return tokens[0] if len(tokens) == 1 else (await engine.ready()).end_token


async def _around_gap(engine: LlamaEngine, tokens: list[int], suffix: str) -> list[int]:
    """The prompt and what is to stand behind the answer, in the marks that the model was trained on."""
    for before, behind, gap in FILL_IN_MARKS:
        marks = [await _tokens(engine, mark, whole=False) for mark in (before, behind, gap)]
        if all(len(mark) == 1 for mark in marks):
            return [*marks[0], *tokens, *marks[1], *await _tokens(engine, suffix, whole=False), *marks[2]]
    raise unsupported("suffix", "with this model: it was not trained to fill in a gap.")


class _Probability(Struct):
    """``token`` is empty where the token is no text (the end)."""

    id: int
    token: str
    logprob: float
    bytes: list[int] = []
    top_logprobs: list["_Probability"] = []

    def name(self) -> str:
        """The token as the reference writes it: pieces of characters by their bytes."""
        return token_name(bytes(self.bytes))


class _Event(Struct):
    content: str
    stop: bool = False
    stop_type: str = "none"
    tokens_predicted: int = 0
    completion_probabilities: list[_Probability] = []


_decode = msgspec.json.Decoder(_Event).decode


def token_name(data: bytes) -> str:
    """A token's bytes as the reference shows them."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class _Candidate:
    """Has the engine go on with one prompt, as often as it is asked."""

    def __init__(
        self,
        generate: Generate,
        body: JsonObject,
        sampled: JsonObject,
        most: int,
        prompt: _Prompt,
        logprobs: int | None,
        *,
        rank: bool,
    ) -> None:
        self._generate = generate
        self._prompt = prompt
        self._most = most
        self._echo = bool(body.get("echo"))
        self._stops = stops_of(body)
        self._logprobs = logprobs
        self._asked = {**sampled, "prompt": prompt.tokens, "n_predict": most}
        if logprobs is not None or rank:
            self._asked["n_probs"] = max(1, logprobs or 0)
        self._scored: list[Token] | None = None
        self._scoring = asyncio.Lock()

    async def say(self, choice: int, candidate: int) -> AsyncGenerator[Piece, None]:
        """One candidate, from its echo to its end."""
        if self._echo:
            tokens = None if self._logprobs is None else await self._scores()
            yield Piece(choice=choice, text=self._prompt.text, tokens=tokens, echo=True)
        if not self._most:
            yield Piece(choice=choice, finish="length")
            return
        asked = self._asked
        if candidate and "seed" in asked:
            asked = {**asked, "seed": (asked["seed"] + candidate) % _RANDOM_SEED}
        cutter = Cutter(self._stops)
        written = 0
        async with aclosing(self._generate(asked)) as payloads:
            async for payload in payloads:
                event = _event(payload)
                counted, written = event.tokens_predicted - written, event.tokens_predicted
                if event.stop:
                    text, tokens = cutter.end()
                    finish = "length" if event.stop_type == "limit" else "stop"
                else:
                    text, tokens = cutter.feed(event.content, self._token(event))
                    finish = "stop" if cutter.stopped else ""
                yield Piece(choice=choice, text=text, tokens=tokens, finish=finish or None, completion_tokens=counted)
                if finish:
                    return

    def _token(self, event: _Event) -> Token | None:
        if not event.completion_probabilities:
            return None
        said = event.completion_probabilities[0]
        return Token(text=event.content, logprob=said.logprob, top=_top(said, event.content, self._logprobs or 0))

    async def _scores(self) -> list[Token]:
        """The prompt's tokens with their log probabilities, asked for once.

        The engine tells those of tokens that it writes, before any constraint: so it is made to write the prompt.
        """
        async with self._scoring:
            if self._scored is None:
                self._scored = await self._score()
            return self._scored

    async def _score(self) -> list[Token]:
        prompt = self._prompt
        said: list[_Probability] = []
        while len(said) < len(prompt.tokens) - 1:
            at = len(said) + 1
            told = await self._written(prompt.tokens[:at], prompt.tokens[at : at + _SCORED_AT_ONCE])
            # Fewer than asked for are told where a token in the midst of the prompt ends texts.
            if not told or [one.id for one in told] != prompt.tokens[at : at + len(told)]:
                raise ModelFailure("The local model did not tell the log probabilities of the prompt.", status=500)
            said += told
        shown = [None, *said][prompt.begun :]
        return [
            Token(text=name, logprob=None)
            if index == 0 or one is None
            else Token(text=name, logprob=one.logprob, top=_top(one, name, self._logprobs or 0))
            for index, (name, one) in enumerate(zip(prompt.names, shown, strict=True))
        ]

    async def _written(self, before: list[int], tokens: list[int]) -> list[_Probability]:
        """What the engine tells of ``tokens`` when it has no choice but to write them."""
        rules = "%llguidance {}\nstart: " + " ".join(f"<[{token}]>" for token in tokens)
        asked = {"prompt": before, "n_predict": len(tokens), "grammar": rules, "temperature": 0, "stream": True}
        asked["n_probs"] = max(1, self._logprobs or 0)
        said: list[_Probability] = []
        async with aclosing(self._generate(asked)) as payloads:
            async for payload in payloads:
                event = _event(payload)
                if event.stop:
                    break
                said += event.completion_probabilities
        return said


def _top(said: _Probability, name: str, count: int) -> dict[str, float]:
    """The ``count`` likeliest tokens, and the one that was taken."""
    rivals = {rival.name(): rival.logprob for rival in reversed(said.top_logprobs[:count])}
    return {**dict(reversed(rivals.items())), name: said.logprob} if name else {}


def _event(payload: bytes) -> _Event:
    try:
        return _decode(payload)
    except msgspec.MsgspecError as error:
        raise ModelFailure("The local model's process said something unreadable.") from error


def _sampling(body: JsonObject, sampling: Sampling) -> JsonObject:
    """As the reference does, from every token that ``temperature`` and ``top_p`` leave, but for what the model has."""
    given = {name: value for name, value in body.items() if value is not None}
    asked: JsonObject = {"stream": True, "top_k": 0, "min_p": 0, **sampling.asked(body)}
    asked |= {name: given[name] for name in ("frequency_penalty", "presence_penalty", "logit_bias") if name in given}
    if "frequency_penalty" in asked or "presence_penalty" in asked:
        asked["repeat_last_n"] = _WHOLE_TEXT  # the reference counts the whole text so far, llama.cpp its last 64 tokens
    if "seed" in given:
        asked["seed"] = given["seed"] % _RANDOM_SEED
    return asked


def _too_long(window: int, tokens: int, most: int) -> BadRequest:
    """The platform's words."""
    return BadRequest(
        f"This model's maximum context length is {window} tokens, however you requested {tokens + most} tokens "
        f"({tokens} in your prompt; {most} for the completion). Please reduce your prompt; or completion length.",
        param="prompt",
        code="context_length_exceeded",
    )
