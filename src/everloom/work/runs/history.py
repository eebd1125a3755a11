"""What stands in a thread, as a model's conversation knows it: read from its end until a prompt is full."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from everloom.blobs.base import DamagedBlob
from everloom.context import Context
from everloom.kit.errors import BadRequest, NotFound
from everloom.models.tokens import MESSAGE_TOKENS, estimate_content
from everloom.objects.base import JsonObject, PageQuery
from everloom.objects.files import File
from everloom.objects.messages import FilePath, ImageFileContent, ImageUrlContent, Message, RefusalContent, TextContent
from everloom.objects.runs import Run, SentPrompt, Source
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
    """A thread's end. ``turns`` stood there before the run, oldest first, and ``ids`` are those of their messages;
    ``said`` is what the run has said, by the ids of its messages. ``whole``: it was read to the thread's beginning.

    ``sources`` are files that answers have linked to, as far as was read, and may be linked to again.
    """

    turns: list[JsonObject]
    ids: list[str]
    said: dict[str, JsonObject]
    sources: list[Source]
    whole: bool


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
    run, turns, ids, said, read = state.run, [], [], {}, []
    going = whole = True
    async for page in pages(ctx.store, Message, PageQuery(limit=_PAGE), thread_id=run.thread_id):
        for message in page.decode():
            read.append(_linked(message))
            if message.run_id == run.id:
                said[message.id] = await _turn(ctx, message)
            elif not going:
                whole = False
            elif (turn := await _turn(ctx, message))["content"]:
                turns.append(turn)
                ids.append(message.id)
                going = fill.takes(turns)
        if not going or (page.has_more and await fill.is_over(turns)):
            whole = whole and not page.has_more
            break
        await asyncio.sleep(0)  # many pages of an embedded database are one long piece of work
    said |= await _said_before(ctx, state, said)
    sources = [source for sources in reversed(read) for source in sources]
    return History(turns[::-1], ids[::-1], said, sources, whole)


async def _said_before(ctx: Context, state: RunState, said: dict[str, JsonObject]) -> dict[str, JsonObject]:
    """What the run has said and stands before what was read: where the clocks of two workers differ."""
    details = [step.step_details for step in state.steps if step.status == "completed"]
    ids = [each.message_creation.message_id for each in details if isinstance(each, MessageCreation)]
    if not (missing := [id for id in ids if id not in said]):
        return {}
    found = await ctx.store.all(Message, id=missing, thread_id=state.run.thread_id)
    return {message.id: await _turn(ctx, message) for message in found if message.run_id == state.run.id}


class Standing(Struct):
    """What still stands of what went into a prompt: ``turns`` of the thread, oldest first, ``said`` by the run, and the
    ids of all ``pictures`` in their messages.
    """

    turns: list[JsonObject]
    said: dict[str, JsonObject]
    pictures: list[str]


async def read_again(ctx: Context, state: RunState, sent: SentPrompt) -> Standing:
    """The messages of a prompt once more, uploaded images by their files."""
    ids = [
        step.step_details.message_creation.message_id
        for step in state.steps
        if isinstance(step.step_details, MessageCreation)
    ]
    own = await ctx.store.all(Message, id=ids, thread_id=state.run.thread_id) if ids else []
    found = [message async for message in _between(ctx, state.run, sent)]
    turns = [await _turn(ctx, message, by_file=True) for message in found]
    said = {message.id: await _turn(ctx, message, by_file=True) for message in own}
    pictures = [
        part.image_file.file_id
        for message in (*found, *own)
        for part in message.content
        if isinstance(part, ImageFileContent)
    ]
    return Standing([turn for turn in turns if turn["content"]], said, pictures)


async def _between(ctx: Context, run: Run, sent: SentPrompt) -> AsyncIterator[Message]:
    """The thread's own messages from the oldest of a prompt to the newest. Where one of these two is gone that came
    from elsewhere, so that its id does not say where it stood, they are all that is found.
    """
    if not sent.newest:
        return
    ends = await ctx.store.all(Message, id=list({sent.oldest, sent.newest}), thread_id=run.thread_id)
    standing = {message.id: message for message in ends}
    if sent.oldest in standing:
        yield standing[sent.oldest]
    if sent.oldest == sent.newest:
        return
    query = PageQuery(limit=_PAGE, order="asc", after=sent.oldest, before=sent.newest)
    with suppress(BadRequest):
        async for page in pages(ctx.store, Message, query, thread_id=run.thread_id):
            for message in page.decode():
                if message.run_id != run.id:
                    yield message
    if sent.newest in standing:
        yield standing[sent.newest]


async def _turn(ctx: Context, message: Message, *, by_file: bool = False) -> JsonObject:
    return {"role": message.role, "content": await content_of(ctx, message, by_file=by_file)}


def _linked(message: Message) -> list[Source]:
    """Files that a message links to."""
    return [
        Source(mark=annotation.text, file_id=annotation.file_path.file_id)
        for part in message.content
        if isinstance(part, TextContent)
        for annotation in part.text.annotations
        if isinstance(annotation, FilePath)
    ]


async def content_of(ctx: Context, message: Message, *, by_file: bool = False) -> Any:
    """A message's content for a model: a plain string where it is only text, else parts. ``by_file``: uploaded images
    are named, where a model is given their bytes.
    """
    parts: list[JsonObject] = []
    for part in message.content:
        if isinstance(part, TextContent):
            parts.append({"type": "text", "text": part.text.value})
        elif isinstance(part, RefusalContent):
            parts.append({"type": "text", "text": part.refusal})
        elif isinstance(part, ImageUrlContent):
            parts.append(msgspec.to_builtins(part))
        elif isinstance(part, ImageFileContent):
            parts.append(await _image(ctx, part, shown=message.role == "user", by_file=by_file))
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


async def _image(ctx: Context, part: ImageFileContent, *, shown: bool, by_file: bool) -> JsonObject:
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
        if by_file:
            return msgspec.to_builtins(part)  # type: ignore[no-any-return]  # A Struct becomes a dict.
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
