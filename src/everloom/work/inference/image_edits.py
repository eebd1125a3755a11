"""Edits of images whose pictures are referred to: laid on disk, so that they are asked for as those of a form are.

Callers: the operation of images, batches.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from everloom.blobs.base import DamagedBlob
from everloom.context import Context
from everloom.kit.errors import BadRequest, NotFound
from everloom.kit.temporary_folders import write_file
from everloom.models.base import Form, FormFile
from everloom.objects.files import File
from everloom.requests.file_sizes import at_most, too_large
from everloom.requests.image_edits import GivenImage, ReferringImageEdit, fields, given
from everloom.requests.validation import invalid
from everloom.work.files.blobs import read_file
from everloom.work.inference.uploaded_images import LATER_BYTES, MASK_BYTES, checked

_BLOCK = 1024 * 1024
"""Characters of base64 that are decoded at a time; a multiple of four."""


async def as_form(ctx: Context, request: ReferringImageEdit, folder: Path) -> Form:
    """The form that says the same, its pictures lying in ``folder`` and found to be what they say.

    Files are the project's, of any purpose: what is in them is looked at as in what is uploaded. They may have as many
    bytes as pictures of forms, together too. Errors: 400, 404 for a file that is not there, 413.
    """
    images = list(given(request))
    files = await _files(ctx, images)
    laid: list[FormFile] = []
    left = LATER_BYTES + MASK_BYTES
    for number, image in enumerate(images):
        limit = min(_limit(image), left)
        blocks = _decoded(image) if image.file_id is None else _content(ctx, files[image.file_id], image.param)
        path = folder / str(number)
        size = await write_file(path, at_most(limit, blocks, image.param))
        if size == 0:
            raise invalid(image.param, "the image is empty.", "empty_file")
        left -= size
        file = FormFile(field=image.field, filename="", content_type="", path=path, size=size, param=image.param)
        laid.append(file)
    form = Form(fields=fields(request), files=tuple(laid))
    form = await asyncio.to_thread(checked, form, strict=False, edits=True)
    return Form(fields=form.fields, files=tuple(map(_named, form.files)))


def _limit(image: GivenImage) -> int:
    return MASK_BYTES if image.field == "mask" else LATER_BYTES


def _named(file: FormFile) -> FormFile:
    """A file with a name of ours: some servers go by its ending."""
    name = f"{file.field.removesuffix('[]')}-{file.path.name}.{file.content_type.rpartition('/')[2]}"
    return msgspec.structs.replace(file, filename=name)


async def _files(ctx: Context, images: list[GivenImage]) -> dict[str, File]:
    """The files that are referred to, before the first of them is copied."""
    found: dict[str, File] = {}
    left = LATER_BYTES + MASK_BYTES
    for image in images:
        if image.file_id is None:
            continue
        try:
            file = await ctx.store.get(File, image.file_id)
        except NotFound as error:
            raise NotFound(error.message, param=image.param) from error
        if file.bytes > (limit := min(_limit(image), left)):
            raise too_large(limit, file.bytes, image.param)
        left -= file.bytes
        found[file.id] = file
    return found


async def _content(ctx: Context, file: File, param: str) -> AsyncIterator[bytes]:
    try:
        async for block in read_file(ctx, file):
            yield block
    except FileNotFoundError as error:
        raise NotFound(f"No such File object: {file.id}", param=param) from error
    except DamagedBlob as error:
        raise invalid(param, str(error), "invalid_file") from error


async def _decoded(image: GivenImage) -> AsyncIterator[bytes]:
    """The bytes of a data URL, a block at a time, line ends in it left out. Errors: 400."""
    rest, is_over = "", False
    for start in range(image.start, len(image.url), _BLOCK):
        text = rest + "".join(image.url[start : start + _BLOCK].split())
        whole = len(text) // 4 * 4
        text, rest = text[:whole], text[whole:]
        if not text:
            continue
        if is_over:
            raise _no_base64(image)
        try:
            block = await asyncio.to_thread(base64.b64decode, text, validate=True)
        except ValueError as error:  # ``binascii.Error`` is one, and so is what letters beyond ASCII raise
            raise _no_base64(image) from error
        is_over = text.endswith("=")
        yield block
    if rest:
        raise _no_base64(image)


def _no_base64(image: GivenImage) -> BadRequest:
    return invalid(image.param, "the data of this URL is not valid base64.", "invalid_base64")
