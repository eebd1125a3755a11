"""Chat completions with ``store: true``: asked, answered, and kept before the last byte of the answer is sent.

The server keeps them itself. A model's server is asked without ``store`` and ``metadata``: it may refuse them, or keep
what nobody meant it to have. The answer gets an id of this server's, since a model's server may give one twice.
Callers: chat completions, batches.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from everloom.context import Context
from everloom.context.answers import CompletionAnswer
from everloom.kit.clock import now
from everloom.kit.errors import NO_JSON, BadRequest
from everloom.kit.ids import new_id
from everloom.kit.sse import DONE, DataLines, frame
from everloom.models.failures import unreadable
from everloom.objects.base import JsonObject, PageQuery, encode
from everloom.objects.stored_completions import StoredCompletion, StoredMessages, StoredPrompt
from everloom.store.base import Add, Remove
from everloom.work.inference import chat
from everloom.work.inference.accumulator import CompletionAccumulator
from everloom.work.inference.answers import Proxied

_PARAMETERS = ("seed", "temperature", "top_p", "presence_penalty", "frequency_penalty")
_members = msgspec.json.Decoder(dict[str, Raw])
_raws = msgspec.json.Decoder(list[Raw])
_objects = msgspec.json.Decoder(JsonObject)


async def ask_or_keep(ctx: Context, body: JsonObject, raw: bytes) -> Proxied:
    """The answer to a chat completion request, kept where it says ``store``. ``raw`` as in ``chat.ask``."""
    return await (ask(ctx, body) if body.get("store") else chat.ask(ctx, body, raw))


async def ask(ctx: Context, body: JsonObject) -> "Kept":
    """As ``chat.ask``; the answer is kept as its end is read. It must be closed."""
    asked = {name: value for name, value in body.items() if name not in ("store", "metadata")}
    if body.get("stream"):
        # What is kept says what it cost, whether or not the caller wants to be told in the stream.
        asked["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return Kept(ctx, await chat.ask(ctx, asked), body)


class Kept:
    """An answer that is kept: ``CompletionAnswer``, with another id and a copy in the store."""

    content_type = "text/event-stream"
    """Of its ``blocks``."""
    hides_usage = False

    def __init__(self, ctx: Context, answer: CompletionAnswer, request: JsonObject) -> None:
        self.id = new_id("chatcmpl-")
        self._ctx = ctx
        self._answer = answer
        self._request = request
        self._shows_usage = bool((request.get("stream_options") or {}).get("include_usage"))

    async def whole(self) -> bytes:
        """The answer of a request that is not streamed, once it is kept."""
        members = _members.decode(await self._answer.whole())
        members["id"] = Raw(encode(self.id))
        rest = {name: value for name, value in members.items() if name != "choices"}
        await self._keep(_objects.decode(encode(rest)), _raws.decode(members["choices"]))
        return encode(members)

    async def blocks(self) -> AsyncIterator[bytes]:
        """The events of a stream; the last one once the answer is kept. One that breaks off is not kept."""
        lines, accumulator = DataLines(), CompletionAccumulator()
        async for block in self._answer.blocks():
            for data in chat.cut(lines, block, self._answer.model):
                if data == DONE:
                    if not accumulator.failed:
                        whole = accumulator.whole()
                        await self._keep(whole, [Raw(encode(choice)) for choice in whole["choices"]])
                    yield frame(DONE)
                elif data and (event := self._event(data, accumulator)):
                    yield event

    async def close(self) -> None:
        """Let go of the answer, and count what it cost."""
        await self._answer.close()

    def _event(self, data: bytes, accumulator: CompletionAccumulator) -> bytes:
        """An event as the caller gets it, once it is accumulated; nothing where it tells only of usage."""
        try:
            chunk = _objects.decode(data)
            accumulator.add(chunk)
        except (*NO_JSON, AttributeError, TypeError) as error:
            raise unreadable(self._answer.model) from error
        if "error" in chunk:
            return frame(data)
        chunk["id"] = self.id
        if not self._shows_usage and "usage" in chunk:
            del chunk["usage"]
            if not chunk.get("choices"):
                return b""
        return frame(encode(chunk))

    async def _keep(self, answer: JsonObject, choices: list[Raw]) -> None:
        request = self._request
        model, created = answer.get("model"), answer.get("created")
        completion = StoredCompletion(
            id=self.id,
            created_at=created if isinstance(created, int) else now(),
            model=model if isinstance(model, str) and "\0" not in model else request["model"],
            choices=choices,
            usage=answer.get("usage") or UNSET,
            system_fingerprint=answer.get("system_fingerprint") or UNSET,
            service_tier=answer.get("service_tier") or UNSET,
            tools=request.get("tools"),
            tool_choice=request.get("tool_choice"),
            response_format=request.get("response_format"),
            input_user=request.get("user"),
            metadata=request.get("metadata") or {},
            **{name: request[name] for name in _PARAMETERS if request.get(name) is not None},
        )
        prompt = StoredPrompt(id=self.id, created_at=now(), messages=_raws.decode(encode(request["messages"])))
        await self._ctx.store.write(Add(completion), Add(prompt))


async def remove(ctx: Context, id: str) -> None:
    """Take a stored completion away, and its messages with it."""
    await ctx.store.write(Remove(StoredCompletion, id), Remove(StoredPrompt, id))


def messages(prompt: StoredPrompt, page: PageQuery) -> StoredMessages:
    """A page of the messages. Their ids are the completion's, a dash and their place in the request."""
    places: Sequence[int] = range(len(prompt.messages))
    if page.order == "desc":
        places = places[::-1]
    if page.after is not None:
        places = places[_place(prompt, page.after, places) + 1 :]
    shown = places[: page.limit]
    return StoredMessages(
        data=[_message(prompt, place) for place in shown],
        first_id=f"{prompt.id}-{shown[0]}" if shown else None,
        last_id=f"{prompt.id}-{shown[-1]}" if shown else None,
        has_more=len(places) > len(shown),
    )


def _place(prompt: StoredPrompt, id: str, places: Sequence[int]) -> int:
    """Where the message ``id`` stands among ``places``."""
    completion, _, number = id.rpartition("-")
    # Digits as they are written here, and no more of them than a place can have.
    if completion != prompt.id or not (number.isascii() and number.isdigit()) or len(number) > 9:
        raise BadRequest(f"Invalid 'after': No message found with id '{id}'.", param="after")
    if int(number) >= len(places):
        raise BadRequest(f"Invalid 'after': No message found with id '{id}'.", param="after")
    return places.index(int(number))


def _message(prompt: StoredPrompt, place: int) -> JsonObject:
    """A message as the reference shows it: content is a text, and parts stand beside it."""
    message = _objects.decode(prompt.messages[place])
    content: Any = message.get("content")
    parts = content if isinstance(content, list) else None
    shown = {"role": message["role"], "content": None if parts is not None else content, "refusal": None, "name": None}
    return {"id": f"{prompt.id}-{place}", **shown, **_without_content(message), "content_parts": parts}


def _without_content(message: JsonObject) -> JsonObject:
    return {name: value for name, value in message.items() if name not in ("content", "id")}
