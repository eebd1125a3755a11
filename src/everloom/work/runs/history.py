"""What stands in a thread, as a model's conversation knows it: read from its end until a prompt is full."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from everloom.blobs.base import DamagedBlob
from everloom.context import Context
from everloom.kit.errors import NotFound
from everloom.models.tokens import MESSAGE_TOKENS, estimate_content
from everloom.objects.base import JsonObject, PageQuery
from everloom.objects.files import File
from everloom.objects.messages import FilePath, ImageFileContent, ImageUrlContent, Message, RefusalContent, TextContent
from everloom.objects.runs import Source
from everloom.objects.steps import MessageCreation
from everloom.work.files.blobs import read_file
from everloom.work.runs.state import RunState
from everloom.work.walking import pages

CHARACTERS_A_TOKEN = 12
"""More characters than a token has on average in any language: what is past this cannot fit."""

MAX_IMAGE_BYTES = 20 * 1024 * 1024

_PAGE = 100
_GROWTH = 1.25
"""Where the estimate says that there is no room any more, the model counts; and again when there is so much more."""

Fits = Callable[[Sequence[JsonObject]], Awaitable[bool]]
"""Whether messages, oldest first, have room in a prompt."""


class History(Struct):
    """A thread's end. ``turns`` stood there before the run, oldest first; ``said`` is what the run has said, by the ids
    of its messages.

    ``sources`` are files that answers have linked to, as far as was read, and may be linked to again.
    """

    turns: list[JsonObject]
    said: dict[str, JsonObject]
    sources: list[Source]


class Fill:
    """Whether what has been read is more than a prompt of so many ``tokens`` has room for, or as many as the run's
    caller wants at ``most``.
    """

    def __init__(self, tokens: int, fits: Fits, *, most: int | None) -> None:
        self._tokens = tokens
        self._characters = tokens * CHARACTERS_A_TOKEN
        self._fits = fits
        self._most = most
        self._estimate = 0
        self._enough = float(tokens)

    def takes(self, turns: Sequence[JsonObject]) -> bool:
        """Whether there may be room behind the last of these, which are newest first and were asked about before it."""
        content = turns[-1]["content"]
        self._characters -= len(str(content))
        self._estimate += MESSAGE_TOKENS + estimate_content(content)
        return self._characters >= 0 and len(turns) != self._most

    async def is_over(self, turns: Sequence[JsonObject]) -> bool:
        """Whether these do not fit, by the model's count; it is asked where the estimate says so."""
        if not turns or self._estimate <= self._enough:
            return False
        self._enough = self._estimate * _GROWTH
        return not await self._fits(turns[::-1])


async def read_history(ctx: Context, state: RunState, fill: Fill) -> History:
    """The newest messages of a run's thread, as many as ``fill`` takes and one more, or all."""
    run, turns, said, read = state.run, [], {}, []
    going = True
    async for page in pages(ctx.store, Message, PageQuery(limit=_PAGE), thread_id=run.thread_id):
        for message in page.decode():
            read.append(_linked(message))
            if message.run_id == run.id:
                said[message.id] = await _turn(ctx, message)
            elif going and (turn := await _turn(ctx, message))["content"]:
                turns.append(turn)
                going = fill.takes(turns)
        if not going or (page.has_more and await fill.is_over(turns)):
            break
        await asyncio.sleep(0)  # many pages of an embedded database are one long piece of work
    said |= await _said_before(ctx, state, said)
    sources = [source for sources in reversed(read) for source in sources]
    return History(turns[::-1], said, sources)


async def _said_before(ctx: Context, state: RunState, said: dict[str, JsonObject]) -> dict[str, JsonObject]:
    """What the run has said and stands before what was read: where the clocks of two workers differ."""
    details = [step.step_details for step in state.steps if step.status == "completed"]
    ids = [each.message_creation.message_id for each in details if isinstance(each, MessageCreation)]
    if not (missing := [id for id in ids if id not in said]):
        return {}
    found = await ctx.store.all(Message, id=missing, thread_id=state.run.thread_id)
    return {message.id: await _turn(ctx, message) for message in found if message.run_id == state.run.id}


async def _turn(ctx: Context, message: Message) -> JsonObject:
    return {"role": message.role, "content": await content_of(ctx, message)}


def _linked(message: Message) -> list[Source]:
    """Files that a message links to."""
    return [
        Source(mark=annotation.text, file_id=annotation.file_path.file_id)
        for part in message.content
        if isinstance(part, TextContent)
        for annotation in part.text.annotations
        if isinstance(annotation, FilePath)
    ]


async def content_of(ctx: Context, message: Message) -> Any:
    """A message's content for a model: a plain string where it is only text, else parts."""
    parts: list[JsonObject] = []
    for part in message.content:
        if isinstance(part, TextContent):
            parts.append({"type": "text", "text": part.text.value})
        elif isinstance(part, RefusalContent):
            parts.append({"type": "text", "text": part.refusal})
        elif isinstance(part, ImageUrlContent):
            parts.append(msgspec.to_builtins(part))
        elif isinstance(part, ImageFileContent):
            parts.append(await _image(ctx, part, shown=message.role == "user"))
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


async def _image(ctx: Context, part: ImageFileContent, *, shown: bool) -> JsonObject:
    """An uploaded image, carried inside the request since an upstream cannot fetch it from here.

    Not ``shown`` but named is what an assistant brought: models take pictures from users alone. One that is gone by now
    is named too, or its thread could never be answered again.
    """
    file_id = part.image_file.file_id
    try:
        file = await ctx.store.get(File, file_id)
        if not shown:
            return _note(f"[image {file.filename}]")
        if file.bytes > MAX_IMAGE_BYTES:
            return _note(f"[image {file.filename} left out: larger than 20 MB]")
        data = b"".join([block async for block in read_file(ctx, file)])
    except DamagedBlob:
        return _note(f"[image {file_id} left out: it is damaged]")
    except (NotFound, FileNotFoundError):
        return _note(f"[image {file_id} left out: it was deleted]")
    url = f"data:{_image_type(data)};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **_detail(part)}}


def _note(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _detail(part: ImageFileContent) -> JsonObject:
    return {} if part.image_file.detail is UNSET else {"detail": part.image_file.detail}


def _image_type(data: bytes) -> str:
    """Told by the first bytes, since a file's name may say anything."""
    if data.startswith(b"GIF8"):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
