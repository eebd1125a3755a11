"""Images by their URLs: what an image tag in a page asks for, with no key but the URL itself."""

from collections.abc import AsyncIterator

from msgspec import Struct

from everloom.api.http.routes import Download, Routes
from everloom.context import Context
from everloom.kit.clock import now
from everloom.work.inference import images

routes = Routes(access="open")


class Signed(Struct, frozen=True, kw_only=True):
    """What stands behind an image's path. Left out it opens nothing, as anything else that was not signed."""

    expires: str = ""
    signature: str = ""


@routes.get(images.FOLDER + "{image_id}")
async def download_image(ctx: Context, image_id: str, signed: Signed) -> Download:
    """The image, to whoever has its URL, until its hour is over."""
    image = await images.opened(ctx, image_id, signed.expires, signed.signature)
    headers = {
        "content-type": image.content_type,
        "content-length": str(image.bytes),
        "cache-control": f"private, max-age={max(0, image.expires_at - now())}, immutable",
        "content-security-policy": "default-src 'none'; sandbox",
    }
    return Download(await _begun(images.read(ctx, image)), headers)


async def _begun(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The blocks once the first is there, so that bytes that are gone are an error and no broken answer."""
    try:
        first = await anext(blocks, b"")
    except FileNotFoundError as error:
        raise images.closed() from error

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for block in blocks:
            yield block

    return whole()
