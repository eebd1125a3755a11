"""What the engine says, as the chat completion of the reference: whole or in chunks, never the engine's own extras."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import msgspec
from msgspec import Struct, field

from everloom.kit.clock import now
from everloom.kit.errors import ModelFailure
from everloom.kit.ids import new_id
from everloom.kit.sse import DONE, frame
from everloom.models.llama.request import EngineRequest
from everloom.models.llama.tool_calls import CallBegins, CallGoesOn, CallReader, Event, PlainText
from everloom.models.merged_stream import MergedStream
from everloom.objects.base import JsonObject, encode
from everloom.objects.chat import ToolCallChunk

Generate = Callable[[JsonObject], AsyncGenerator[bytes, None]]
"""Asks the engine; the answer's events as they come."""


class _Delta(Struct):
    content: str | None = None
    tool_calls: list[ToolCallChunk] = []


class _Logprobs(Struct):
    content: list[JsonObject] = []


class _Choice(Struct):
    delta: _Delta = field(default_factory=_Delta)
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Details(Struct):
    cached_tokens: int = 0


class _Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Details = field(default_factory=_Details)


class _Chunk(Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


class AnswerStep(Struct, frozen=True, kw_only=True):
    """What one event of the engine adds to one choice."""

    choice: int
    events: list[Event] = []
    logprobs: list[JsonObject] | None = None
    finish: str | None = None
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChoiceReader:
    """Reads the engine's events of one choice."""

    def __init__(self, choice: int, ask: EngineRequest, top_logprobs: int) -> None:
        self._choice = choice
        self._reader = _reader(ask) if ask.names else None
        self._unsaid: list[JsonObject] = []  # log probabilities of tokens that are held back
        self._top = top_logprobs
        self._called = False
        self._call_finish = "function_call" if ask.old_style else "tool_calls"

    def read(self, payload: bytes) -> AnswerStep:
        """``payload`` as a step."""
        try:
            chunk = _decode(payload)
        except msgspec.MsgspecError as error:
            raise ModelFailure("The local model's process said something unreadable.") from error
        if not chunk.choices:
            return AnswerStep(choice=self._choice, usage=chunk.usage)
        said = chunk.choices[0]
        events = self._events(said)
        self._called = self._called or any(isinstance(event, CallBegins) for event in events)
        return AnswerStep(
            choice=self._choice,
            events=events,
            logprobs=self._logprobs(said, events),
            finish=self._finish(said.finish_reason),
            usage=chunk.usage,
        )

    def _events(self, said: _Choice) -> list[Event]:
        events: list[Event] = []
        if said.delta.content:
            events += self._reader.feed(said.delta.content) if self._reader else [PlainText(said.delta.content)]
        for call in said.delta.tool_calls:
            if call.function is not None and call.function.name:
                events.append(CallBegins(call.index, call.function.name))
            if call.function is not None and call.function.arguments:
                events.append(CallGoesOn(call.index, call.function.arguments))
        if said.finish_reason and self._reader:
            events += self._reader.end()
        return events

    def _finish(self, reason: str | None) -> str | None:
        return self._call_finish if self._called and reason in ("stop", "tool_calls") else reason

    def _logprobs(self, said: _Choice, events: list[Event]) -> list[JsonObject] | None:
        """Those of the text that is told, with what was held back before it; those of calls are not told."""
        if said.logprobs is not None:
            self._unsaid += (
                {**_token(token), "top_logprobs": [_token(other) for other in token["top_logprobs"][: self._top]]}
                for token in said.logprobs.content
            )
        told, self._unsaid = self._unsaid, self._unsaid if not events else []
        return told if told and any(isinstance(event, PlainText) for event in events) else None


def _reader(ask: EngineRequest) -> CallReader:
    return CallReader(ask.names, must_call=ask.must_call, schemas=ask.schemas, most=ask.most_calls)


def _token(told: JsonObject) -> JsonObject:
    return {"token": told["token"], "logprob": told["logprob"], "bytes": told["bytes"]}


class LocalAnswer:
    """One answer: ``n`` choices, each asked of the engine by itself, so that usage is exact and seeds differ."""

    def __init__(self, generate: Generate, ask: EngineRequest, request: JsonObject, fingerprint: str) -> None:
        self.model: str = request["model"]
        self._streams = bool(request.get("stream"))
        self.content_type = "text/event-stream; charset=utf-8" if self._streams else "application/json"
        self._generate = generate
        self._ask = ask
        self._choices: int = request.get("n") or 1
        self._top: int = request.get("top_logprobs") or 0
        head = {"id": new_id("chatcmpl-"), "object": "", "created": now(), "model": self.model}
        if request.get("service_tier"):
            head["service_tier"] = "default"
        self._head = {**head, "system_fingerprint": fingerprint}
        self._with_usage = bool((request.get("stream_options") or {}).get("include_usage"))
        self._steps: MergedStream[AnswerStep] = MergedStream()

    async def begin(self) -> None:
        """Ask, and return with the first word of the model. Errors: as the engine's."""
        await self._steps.begin(map(self._listen, range(self._choices)), lambda step: True)

    async def close(self) -> None:
        """Stop the model where it still speaks."""
        await self._steps.close()

    async def blocks(self) -> AsyncIterator[bytes]:
        """The answer's bytes."""
        if self._streams:
            async for block in self._chunks():
                yield block
        else:
            yield await self._whole()

    async def _listen(self, choice: int) -> AsyncGenerator[AnswerStep, None]:
        body = self._ask.body
        if choice and "seed" in body:
            body = {**body, "seed": body["seed"] + choice}
        voice = ChoiceReader(choice, self._ask, self._top)
        async with aclosing(self._generate(body)) as payloads:
            async for payload in payloads:
                yield voice.read(payload)

    async def _chunks(self) -> AsyncIterator[bytes]:
        writer = ChunkWriter({**self._head, "object": "chat.completion.chunk"}, self._ask.old_style, self._with_usage)
        usages = []
        async for step in self._steps.pieces():
            if step.usage is not None:
                usages.append(step.usage)
            block = writer.write(step)
            if block:
                yield block
        yield writer.end(_usage(usages))

    async def _whole(self) -> bytes:
        choices = [WholeChoice(index, self._ask.old_style) for index in range(self._choices)]
        usages = []
        async for step in self._steps.pieces():
            if step.usage is not None:
                usages.append(step.usage)
            choices[step.choice].add(step)
        rendered = [choice.render() for choice in choices]
        return encode({**self._head, "object": "chat.completion", "choices": rendered, "usage": _usage(usages)})


def _usage(usages: list[_Usage]) -> JsonObject:
    """The prompt counts once, the answers all."""
    read = usages[0].prompt_tokens if usages else 0
    written = sum(usage.completion_tokens for usage in usages)
    details = {"cached_tokens": usages[0].prompt_tokens_details.cached_tokens if usages else 0, "audio_tokens": 0}
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class ChunkWriter:
    """Writes steps as server-sent chunks (CreateChatCompletionStreamResponse)."""

    def __init__(self, head: JsonObject, old_style: bool, with_usage: bool) -> None:
        self._head = head
        self._old_style = old_style
        self._usage: JsonObject = {"usage": None} if with_usage else {}
        self._begun: set[int] = set()

    def write(self, step: AnswerStep) -> bytes:
        """The chunks of a step; empty when it tells a client nothing."""
        blocks = []
        if step.choice not in self._begun and (step.events or step.finish):
            self._begun.add(step.choice)
            calls = bool(step.events) and not isinstance(step.events[0], PlainText)
            start = {"role": "assistant", "content": None if calls else "", "refusal": None}
            blocks.append(self._chunk(step.choice, start))
        text = "".join(event.text for event in step.events if isinstance(event, PlainText))
        if text:
            logprobs = None if step.logprobs is None else {"content": step.logprobs, "refusal": None}
            blocks.append(self._chunk(step.choice, {"content": text}, logprobs))
        for event in step.events:
            if not isinstance(event, PlainText):
                blocks.append(self._chunk(step.choice, self._call(event)))
        if step.finish:
            blocks.append(self._chunk(step.choice, {}, finish=step.finish))
        return b"".join(blocks)

    def end(self, usage: JsonObject) -> bytes:
        """The usage where it was asked for, and the end of the stream."""
        last = frame(encode({**self._head, "choices": [], "usage": usage})) if self._usage else b""
        return last + frame(DONE)

    def _chunk(self, index: int, delta: JsonObject, logprobs: object = None, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return frame(encode({**self._head, "choices": [choice], **self._usage}))

    def _call(self, event: CallBegins | CallGoesOn) -> JsonObject:
        if isinstance(event, CallBegins):
            function = {"name": event.name, "arguments": ""}
            call = {"index": event.index, "id": new_id("call_"), "type": "function", "function": function}
        else:
            function = {"arguments": event.arguments}
            call = {"index": event.index, "function": function}
        return {"function_call": function} if self._old_style else {"tool_calls": [call]}


class WholeChoice:
    """Gathers the steps of one choice."""

    def __init__(self, index: int, old_style: bool) -> None:
        self._index = index
        self._old_style = old_style
        self._text: list[str] = []
        self._logprobs: list[JsonObject] | None = None
        self._calls: list[tuple[str, list[str]]] = []
        self._finish = "stop"

    def add(self, step: AnswerStep) -> None:
        """Take in a step."""
        for event in step.events:
            if isinstance(event, PlainText):
                self._text.append(event.text)
            elif isinstance(event, CallBegins):
                self._calls.append((event.name, []))
            else:
                self._calls[event.index][1].append(event.arguments)
        if step.logprobs is not None:
            self._logprobs = (self._logprobs or []) + step.logprobs
        self._finish = step.finish or self._finish

    def render(self) -> JsonObject:
        """The choice of the reference's response."""
        text = "".join(self._text)
        message: JsonObject = {"role": "assistant", "content": text if text or not self._calls else None}
        message["refusal"] = None
        functions = [{"name": name, "arguments": "".join(pieces)} for name, pieces in self._calls]
        if functions and self._old_style:
            message["function_call"] = functions[0]
        elif functions:
            message["tool_calls"] = [{"id": new_id("call_"), "type": "function", "function": one} for one in functions]
        logprobs = None if self._logprobs is None else {"content": self._logprobs, "refusal": None}
        return {"index": self._index, "message": message, "logprobs": logprobs, "finish_reason": self._finish}
