"""Images that models made: kept where they are to be fetched by their URL, and taken away after their hour.

Callers: the three operations of images, batches.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Literal

import msgspec

from everloom.context import Context, Ports
from everloom.context.answers import ImageAnswer
from everloom.kit.clock import now
from everloom.kit.errors import Forbidden, NotFound
from everloom.kit.ids import new_id
from everloom.models.base import Form
from everloom.models.failures import unreadable
from everloom.objects.base import JsonObject, PageQuery, encode
from everloom.objects.images import GeneratedImage
from everloom.requests.images import is_gpt
from everloom.store.base import SYSTEM, Add, Remove
from everloom.work.files.blobs import NewBlob, discard, doom

log = logging.getLogger(__name__)

URL_SECONDS = 3600
"""How long a URL leads to its image; the reference says an hour."""

LOOK_SECONDS = 30.0
_SWEPT_AT_ONCE = 100

FOLDER = "/images/files/"
"""Where images are, below the server's base URL."""

Way = Literal["url", "b64_json"]


def way_of(model: str, asked: Way | None) -> Way | None:
    """How images of a model are to come; None: as the model gives them."""
    return asked or (None if is_gpt(model) else "url")


async def generate(ctx: Context, body: JsonObject) -> ImageAnswer:
    """The answer to a createImage request. It must be closed. Errors: as ``ChatModel.chat``."""
    async with ctx.ask("draw", body["model"]) as model:
        return await model.generate(body)


async def edit(ctx: Context, name: str, form: Form) -> ImageAnswer:
    """The answer to a createImageEdit request, its form checked. It must be closed. Errors: as ``ChatModel.chat``."""
    async with ctx.ask("draw", name) as model:
        return await model.edit(form)


async def vary(ctx: Context, name: str, form: Form) -> ImageAnswer:
    """As ``edit``, for createImageVariation."""
    async with ctx.ask("draw", name) as model:
        return await model.vary(form)


async def finish(ctx: Context, answer: ImageAnswer, way: Way | None, base: str) -> bytes:
    """The whole answer, closed, its images as ``way`` says (None: as the model gives them).

    Images wanted as URLs that come as bytes are kept here for an hour, below ``base``. An upstream's own URLs are left
    as they are, also where bytes were wanted: this server fetches nothing from addresses that others name.
    """
    try:
        data = await answer.whole()
    finally:
        await answer.close()
    if way != "url" or not answer.has_base64:
        return data
    shown: JsonObject = await asyncio.to_thread(msgspec.json.decode, data)
    for image in shown["data"]:
        if isinstance(text := image.pop("b64_json", None), str):
            image["url"] = address(await keep(ctx, await asyncio.to_thread(_bytes, text, answer.model)), base)
    return encode(shown)


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
