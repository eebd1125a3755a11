"""Ask for images and meter them; keep what is to be fetched by its URL, and take it away after its hour.

Callers: the three operations of images, batches.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Literal

import msgspec

from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.kit.errors import NO_JSON, ApiError, Forbidden, NotFound
from everloom.kit.ids import new_id
from everloom.kit.upkeep import every
from everloom.models.base import Answer, Draws, Form
from everloom.objects.base import JsonObject, PageQuery, encode
from everloom.objects.images import GeneratedImage
from everloom.objects.tools import Usage
from everloom.store.base import SYSTEM, Add, Remove
from everloom.work.files.blobs import NewBlob, discard, doom
from everloom.work.inference.metering import asked, count_images, count_tokens, refused, unreadable

log = logging.getLogger(__name__)

URL_SECONDS = 3600
"""How long a URL leads to its image; the reference says an hour."""

LOOK_SECONDS = 30.0
_SWEPT_AT_ONCE = 100

FOLDER = "/images/files/"
"""Where images are, below the server's base URL."""

_ALWAYS_BYTES = re.compile(r"(?:.*/)?(?:chatgpt|gpt)-image")
"""Models whose servers answer in base64 alone, and refuse to be asked for it."""

_COMPLETED = re.compile(rb'"type"\s*:\s*"image_(?:generation|edit)\.completed"')
_COMPLETED_BYTES = 64

Way = Literal["url", "b64_json"]

Send = Callable[[Draws, str], Awaitable[Answer]]
"""Asks a backend in the name that it knows the model by."""


def creation(body: JsonObject) -> Send:
    """createImage."""

    def send(backend: Draws, own: str) -> Awaitable[Answer]:
        kept = {name: value for name, value in body.items() if _goes_to(own, name)}
        return backend.generate_image({**kept, "model": own})

    return send


def edit(form: Form) -> Send:
    """createImageEdit."""
    return lambda backend, own: backend.edit_image(_form_for(form, own))


def variation(form: Form) -> Send:
    """createImageVariation."""
    return lambda backend, own: backend.vary_image(_form_for(form, own))


def _form_for(form: Form, own: str) -> Form:
    kept = tuple(field for field in form.fields if _goes_to(own, field[0]))
    return Form(fields=kept, files=form.files).naming(own)


def _goes_to(own: str, parameter: str) -> bool:
    return parameter != "response_format" or not _ALWAYS_BYTES.match(own)


class Drawn:
    """An answer with images, counted once it is closed, and ``held`` let go of. ``close`` must be awaited."""

    def __init__(self, answer: Answer, held: ExitStack) -> None:
        self.content_type = answer.content_type
        self._answer = answer
        self._held = held
        self._images = 0
        self._outcome = "closed"

    @property
    def model(self) -> str:
        """The name of the model that draws."""
        return self._answer.model

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        tail = b""
        try:
            async for block in self._answer.blocks():
                window = tail + block
                for found in _COMPLETED.finditer(window):
                    self._images += found.end() > len(tail)
                tail = window[-_COMPLETED_BYTES:]
                yield block
        except ApiError:
            self._outcome = "failed"
            raise
        self._outcome = "completed"

    async def whole(self) -> tuple[bytes, bool]:
        """The body of an answer that is no stream, and whether it brings an image in base64."""
        data = b"".join([block async for block in self._answer.blocks()])
        try:
            answer = await asyncio.to_thread(_read, data)
        except NO_JSON as error:
            self._outcome = "failed"
            raise unreadable(self.model) from error
        self._outcome = "completed"
        self._images = len(answer.data)
        if (usage := answer.usage) is not None:
            count_tokens(self.model, usage.usage())
        return data, any(image.b64_json != _NULL for image in answer.data)

    async def close(self) -> None:
        """Let go of the answer, and count it."""
        with self._held:
            await self._answer.close()
        asked(self.model, self._outcome)
        count_images(self.model, self._images)


_NULL = msgspec.Raw(b"null")


class _Cost(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0

    def usage(self) -> Usage:
        total = self.input_tokens + self.output_tokens
        return Usage(prompt_tokens=self.input_tokens, completion_tokens=self.output_tokens, total_tokens=total)


class _Image(msgspec.Struct):
    b64_json: msgspec.Raw = _NULL


class _Answer(msgspec.Struct):
    """An answer, read only as far as it takes to count it."""

    data: list[_Image]
    usage: _Cost | None = None


def _read(data: bytes) -> _Answer:
    data.decode()  # base64 is not looked at by the decoder
    return _answer_of.decode(data)


_answer_of = msgspec.json.Decoder(_Answer)


async def ask(ctx: Context, model: str, send: Send) -> Drawn:
    """Have a model draw, in the project's turn.

    Errors: 404 ``model_not_found``, the platform's 4xx, ``ModelFailure``.
    """
    backend, own = ctx.models.resolve(model, "draw")
    with ExitStack() as held:
        try:
            held.enter_context(await ctx.ports.turns.place(ctx.project, backend, own))
            answer = await send(backend, own)
        except ApiError as error:
            refused(own, error)
            raise
        return Drawn(answer, held.pop_all())


async def finish(ctx: Context, drawn: Drawn, way: Way | None, base: str) -> bytes:
    """The whole answer, closed, its images as ``way`` says (None: as the model gives them).

    Images wanted as URLs that come as bytes are kept here for an hour, below ``base``. An upstream's own URLs are left
    as they are, also where bytes were wanted: this server fetches nothing from addresses that others name.
    """
    try:
        data, brings_bytes = await drawn.whole()
    finally:
        await drawn.close()
    if way != "url" or not brings_bytes:
        return data
    answer: JsonObject = await asyncio.to_thread(msgspec.json.decode, data)
    for image in answer["data"]:
        if isinstance(text := image.pop("b64_json", None), str):
            image["url"] = address(await keep(ctx, await asyncio.to_thread(_bytes, text, drawn.model)), base)
    return encode(answer)


def _bytes(text: str, model: str) -> bytes:
    if text.startswith("data:"):  # Some servers write the type before it.
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # ``binascii.Error`` is one, and so is what letters beyond ASCII raise
        raise unreadable(model) from error


# --- images that are kept ------------------------------------------------------------------------------------------


async def keep(ctx: Context, data: bytes) -> GeneratedImage:
    """Keep an image for its hour."""
    made = now()
    async with NewBlob(_nobodys(ctx.ports), new_id("img-")) as blob:
        size = await blob.put(_one(data))
        image = GeneratedImage(
            id=blob.id,
            created_at=made,
            expires_at=made + URL_SECONDS,
            content_type=_content_type(data),
            bytes=size,
            secret=secrets.token_hex(32),
        )
        await blob.keep(Add(image))
    return image


def address(image: GeneratedImage, base: str) -> str:
    """The URL that opens an image, below a server's ``base`` URL."""
    signed = _signature(image.id, image.expires_at, image.secret)
    return f"{base}{FOLDER}{image.id}?expires={image.expires_at}&signature={signed}"


async def opened(ctx: Context, id: str, expires: str, signature: str) -> GeneratedImage:
    """The image that a URL leads to. 403 for a URL that is not ours, was changed, or is older than its hour."""
    try:
        image = await _nobodys(ctx.ports).store.get(GeneratedImage, id)
    except NotFound:
        raise closed() from None
    expected = _signature(id, image.expires_at, image.secret)
    signed = hmac.compare_digest(expected.encode(), signature.encode())
    if not signed or expires != str(image.expires_at) or now() >= image.expires_at:
        raise closed()
    return image


def read(ctx: Context, image: GeneratedImage) -> AsyncIterator[bytes]:
    """The bytes of an image; ``FileNotFoundError`` where it was swept meanwhile."""
    return ctx.ports.blobs.read(image.id)


def _signature(id: str, expires: int, secret: str) -> str:
    return hmac.new(bytes.fromhex(secret), f"{id}\n{expires}".encode(), hashlib.sha256).hexdigest()


def closed() -> Forbidden:
    """The refusal of a URL, which says nothing of whether there is or was such an image."""
    return Forbidden(
        "This URL does not open an image: its signature is wrong, or its time is over. URLs of images are valid for "
        "60 minutes after the image has been generated.",
        code="invalid_image_url",
    )


def _nobodys(ports: Ports) -> Context:
    return Context.of(ports, SYSTEM)


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _content_type(data: bytes) -> str:
    """By the bytes, so that a browser is never told to run what a model's server made up."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "application/octet-stream"


async def watch(ports: Ports) -> None:
    """Sweep every half minute, until cancelled."""
    await every(LOOK_SECONDS, "sweeping images", lambda: sweep(ports))


async def sweep(ports: Ports) -> None:
    """Take away the images whose hour is over. All have the same hour, so the oldest are looked at and no others."""
    ctx = _nobodys(ports)
    while True:
        page = await ctx.store.find(GeneratedImage, PageQuery(limit=_SWEPT_AT_ONCE, order="asc"))
        over = [image for image in page.decode() if now() >= image.expires_at]
        for image in over:
            await _forget(ctx, image.id)
        if len(over) < _SWEPT_AT_ONCE:
            return


async def _forget(ctx: Context, id: str) -> None:
    try:
        await ctx.store.write(Remove(GeneratedImage, id), doom(id))
    except NotFound:
        return  # Another worker was faster.
    await discard(ctx, id)
