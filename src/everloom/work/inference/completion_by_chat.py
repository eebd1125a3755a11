"""Legacy completions built on chat completions, where that is honest: each prompt is the one message of a chat.

A chat model answers a prompt instead of going on with it; everything else about the request is kept or refused.
Every chat request is metered as such.
"""

from collections.abc import AsyncGenerator, Sequence
from functools import partial

import msgspec
from msgspec import Struct, field

from everloom.context import Context
from everloom.context.answers import CompletionAnswer
from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.kit.sse import DONE, DataLines
from everloom.models.base import Backend
from everloom.models.completion_text import Piece, Plan, TextAnswer, Token, plan_of, prompts_of, unsupported
from everloom.models.failures import failed_midway, unreadable
from everloom.objects.base import JsonObject
from everloom.objects.tools import EstimatedUsage, Usage
from everloom.work.inference import chat

CHATS_AT_ONCE = 8
"""Chat requests under way for one request with many prompts."""

_DEFAULT_TOKENS = 16
_SHARED = ("frequency_penalty", "logit_bias", "presence_penalty", "seed", "stop", "temperature", "top_p", "user")
"""Parameters that mean the same to both."""

_WHERE = "with this model: its server has chat completions alone, and {}."


async def by_chat(ctx: Context, body: JsonObject, backend_model: str) -> TextAnswer:
    """The answer to a createCompletion request that has been checked; returns with the first words.

    ``backend_model`` is the model's name in the answer. Errors: 400 ``unsupported_parameter`` for what chat cannot do,
    and those of ``chat.ask``.
    """
    texts = _texts(body)
    plan = plan_of({**body, "model": backend_model}, list(map(len, texts)))
    chat = _chat(body, plan)
    backend = (await ctx.find(body["model"], "chat")).backend
    if chat.get("logprobs") and backend in ctx.ports.gate.silent_on_probabilities:
        raise _tells_none(plan)
    echo = bool(body.get("echo"))
    candidates = (_Candidate(ctx, backend, chat, plan, number) for number in range(len(texts)))
    sources = [partial(candidate.say, text, echo) for candidate, text in zip(candidates, texts, strict=True)]
    answer = TextAnswer(plan, sources, CHATS_AT_ONCE)
    await answer.begin()
    return answer


def _texts(body: JsonObject) -> list[str]:
    """The prompts. Refuses what has no like in a chat."""
    texts = []
    for prompt in prompts_of(body):
        if not isinstance(prompt, str):
            what = "a message cannot be empty" if prompt is None else "a message is a text and not tokens"
            raise unsupported("prompt", "in this form " + _WHERE.format(what))
        texts.append(prompt)
    if body.get("suffix"):
        raise unsupported("suffix", _WHERE.format("a chat model does not fill in gaps"))
    if body.get("max_tokens") == 0:
        raise unsupported("max_tokens", "at 0 " + _WHERE.format("an answer has one token at least"))
    if body.get("echo") and body.get("logprobs") is not None:
        raise unsupported(
            "logprobs", "together with 'echo' " + _WHERE.format("these tell nothing of a prompt's tokens")
        )
    return texts


def _chat(body: JsonObject, plan: Plan) -> JsonObject:
    """The chat request but for its message."""
    chat: JsonObject = {name: body[name] for name in _SHARED if body.get(name) is not None}
    chat["model"] = body["model"]
    chat["max_tokens"] = _DEFAULT_TOKENS if body.get("max_tokens") is None else body["max_tokens"]
    if plan.each > 1:
        chat["n"] = plan.each
    if plan.logprobs is not None or plan.each > plan.n:
        chat["logprobs"] = True
        if plan.logprobs:
            chat["top_logprobs"] = plan.logprobs
    if plan.streams:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


class _Rival(Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None

    def name(self) -> str:
        """The token as legacy completions write it: pieces of characters by their bytes."""
        if self.bytes is None or _is_text(self.bytes):
            return self.token
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self.bytes)


class _Probability(_Rival):
    top_logprobs: list[_Rival] = []

    def shown(self, top: int) -> Token:
        rivals = {rival.name(): rival.logprob for rival in reversed(self.top_logprobs[:top])}
        name = self.name()
        # A character of several tokens counts with its first byte; those that go on with one are 0b10xxxxxx.
        width = None if name == self.token else sum(byte & 0xC0 != 0x80 for byte in self.bytes or ())
        told = {**dict(reversed(rivals.items())), name: self.logprob}
        return Token(text=name, logprob=self.logprob, top=told, width=width)


class _Logprobs(Struct):
    content: list[_Probability] | None = None


class _Message(Struct):
    content: str | None = None


class _Said(Struct):
    """A choice of a chat completion, whole (``message``) or a piece of it (``delta``)."""

    index: int = 0
    message: _Message = field(default_factory=_Message)
    delta: _Message = field(default_factory=_Message)
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Chat(Struct):
    choices: list[_Said] = []
    error: msgspec.Raw | None = None


_decoder = msgspec.json.Decoder(_Chat)


class _Candidate:
    """Asks for the choices of prompt ``number`` in one chat request."""

    def __init__(self, ctx: Context, backend: Backend, chat: JsonObject, plan: Plan, number: int) -> None:
        self._ctx = ctx
        self._backend = backend
        self._chat = chat
        self._plan = plan
        self._first = number * plan.each
        self._open = set(range(plan.each))

    async def say(self, text: str, echo: bool) -> AsyncGenerator[Piece, None]:
        """The pieces of every choice, and at last what they cost."""
        body = {**self._chat, "messages": [{"role": "user", "content": text}]}
        answer = await chat.ask(self._ctx, body)
        try:
            for choice in range(self._plan.each if echo else 0):
                yield Piece(choice=self._first + choice, text=text, echo=True)
            if self._plan.streams:
                async for piece in self._pieces(answer):
                    yield piece
            else:
                for piece in self._read(await answer.whole(), answer.model):
                    yield piece
        finally:
            await answer.close()
        if self._open:
            raise ModelFailure(
                f"The model {answer.model} was asked for {self._plan.each} choices and did not finish all of them.",
                code="upstream_broken",
            )
        yield self._cost(answer.usage)

    async def _pieces(self, answer: CompletionAnswer) -> AsyncGenerator[Piece, None]:
        lines = DataLines()
        async for block in answer.blocks():
            for data in chat.cut(lines, block, answer.model):
                if data and data != DONE:
                    for piece in self._read(data, answer.model):
                        yield piece

    def _read(self, data: bytes, model: str) -> Sequence[Piece]:
        try:
            chat = _decoder.decode(data)
        except NO_JSON as error:
            raise unreadable(model) from error
        if chat.error is not None:
            raise failed_midway(model, bytes(chat.error))
        return [self._piece(said) for said in chat.choices if said.index < self._plan.each]

    def _piece(self, said: _Said) -> Piece:
        text = said.message.content or said.delta.content or ""
        if said.finish_reason:
            self._open.discard(said.index)
        tokens = None
        if self._chat.get("logprobs") and (text or said.logprobs):
            if said.logprobs is None or said.logprobs.content is None:
                # Each request would be paid for, and refused.
                self._ctx.ports.gate.silent_on_probabilities.add(self._backend)
                raise _tells_none(self._plan)
            tokens = [one.shown(self._plan.logprobs or 0) for one in said.logprobs.content]
        finish = said.finish_reason if said.finish_reason in (None, "length", "content_filter") else "stop"
        return Piece(choice=self._first + said.index, text=text, tokens=tokens, finish=finish)

    def _cost(self, usage: Usage | None) -> Piece:
        if usage is None or isinstance(usage, EstimatedUsage):
            return Piece(choice=self._first, uncounted=True)
        return Piece(choice=self._first, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)


def _tells_none(plan: Plan) -> ApiError:
    name = "logprobs" if plan.logprobs is not None else "best_of"
    return unsupported(name, _WHERE.format("these came without log probabilities"))


def _is_text(data: list[int]) -> bool:
    try:
        bytes(data).decode()
    except ValueError:
        return False
    return True
