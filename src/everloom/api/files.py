"""The Files tag: bytes that assistants, batches and fine-tuning work on."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, get_args
from urllib.parse import quote

from msgspec import Meta, Struct

from everloom.api.http.binding import decode_query
from everloom.api.http.forms import NULL, check_format, plain_filename, refuse_too_long
from everloom.api.http.multipart import Part, form_parts
from everloom.api.http.routes import Download, Request, Routes
from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, BadRequest, NotFound
from everloom.kit.ids import new_id
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.files import File, FileExpiresAfter, UploadPurpose
from everloom.requests.file_sizes import at_most
from everloom.requests.validation import invalid, missing, unknown, unsupported_value
from everloom.work.files.blobs import NewBlob
from everloom.work.files.deadlines import adding
from everloom.work.threads.files import remove_file

routes = Routes(permission="files")

UPLOAD_PURPOSES: tuple[UploadPurpose, ...] = get_args(UploadPurpose)


class FilesQuery(PageQuery, frozen=True, kw_only=True):
    """The parameters of a list of files: by default it is one long page."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    purpose: str | None = None


@routes.post("/files")
async def create_file(ctx: Context, call: Request) -> File:
    """createFile: the bytes go to the blob store as they arrive, and are taken back if the form turns out wrong."""
    limit = ctx.ports.limits.file_bytes
    refuse_too_long(call, limit, "file")
    async with NewBlob(ctx, new_id("file-"), digest=True) as blob:
        file, expires_after = await _receive(call, blob, limit)
        await blob.keep(*adding(file, expires_after))
    return file


@routes.get("/files")
async def list_files(ctx: Context, page: FilesQuery) -> Page[File]:
    """listFiles."""
    if page.purpose is None:
        return await ctx.store.find(File, page)
    return await ctx.store.find(File, page, purpose=page.purpose)


@routes.get("/files/{file_id}")
async def retrieve_file(ctx: Context, file_id: str) -> File:
    """retrieveFile."""
    return await ctx.store.get(File, file_id)


@routes.get("/files/{file_id}/content")
async def download_file(ctx: Context, call: Request, file_id: str) -> Download:
    """downloadFile. The platform may have refused files of purpose ``assistants``; here they are their owner's.

    A download that broke off can go on where it was: one range of bytes is answered as RFC 9110 says.
    """
    file = await ctx.store.get(File, file_id)
    span = _span(call, file.bytes)
    start, end = span or (0, file.bytes)
    blocks = ctx.ports.blobs.read(file.id, offset=start, length=end - start if span else None)
    try:
        first = await anext(blocks, b"")
    except FileNotFoundError as error:
        raise NotFound(f"No such File object: {file.id}", param="id") from error
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(end - start),
        "content-disposition": _attachment(file.filename),
        "accept-ranges": "bytes",
    }
    if span:
        headers["content-range"] = f"bytes {start}-{end - 1}/{file.bytes}"
    return Download(_chain(first, blocks), headers, 206 if span else 200)


@routes.delete("/files/{file_id}")
async def delete_file(ctx: Context, file_id: str) -> Deleted:
    """deleteFile: the file goes, and with it its attachments to assistants and its places in vector stores."""
    await remove_file(ctx, file_id)
    return Deleted(id=file_id, object="file")


# --- uploading -----------------------------------------------------------------------------------------------------


class _Expiry(Struct, frozen=True, kw_only=True):
    expires_after: FileExpiresAfter | None = None


_EXPIRY = ("expires_after[anchor]", "expires_after[seconds]", "expires_after")
"""What forms call it. The last is there to be null."""


async def _receive(call: Request, blob: NewBlob, limit: int) -> tuple[File, FileExpiresAfter | None]:
    """Read the form, its file into the blob. The fields may come in any order."""
    purpose: UploadPurpose | None = None
    filename: str | None = None
    expiry: list[tuple[str, str]] = []
    size = 0
    async for part in form_parts(call.stream(), call.header(b"content-type")):
        if part.name == "purpose":
            purpose = await _purpose(part)
        elif part.name == "file":
            if filename is not None:
                raise invalid("file", "too many files. Expected one file.", "invalid_value")
            filename = _filename(part)
            size = await blob.put(at_most(limit, part, "file"))
        elif part.name in _EXPIRY:
            expiry.append((part.name, await _text(part)))
        else:
            raise unknown(part.name[:256])
    if filename is None:
        raise missing("file")
    if purpose is None:
        raise missing("purpose")
    check_format(purpose, filename)
    expires_after = decode_query([(name, text) for name, text in expiry if text != NULL], _Expiry).expires_after
    return File(id=blob.id, created_at=now(), bytes=size, filename=filename, purpose=purpose), expires_after


async def _text(part: Part) -> str:
    if part.filename is not None:
        raise _wrong_type(part.name, "a string", "a file")
    return await part.text()


async def _purpose(part: Part) -> UploadPurpose:
    value = await _text(part)
    for purpose in UPLOAD_PURPOSES:
        if value == purpose:
            return purpose
    raise unsupported_value("purpose", value, UPLOAD_PURPOSES)


def _filename(part: Part) -> str:
    if part.filename is None:
        raise _wrong_type("file", "a file", "a string")
    if not part.filename:
        raise missing("file")  # A browser's form in which no file was chosen.
    return plain_filename(part.filename, "file")


def _wrong_type(name: str, expected: str, got: str) -> BadRequest:
    text = f"Invalid type for '{name}': expected {expected}, but got {got} instead."
    return BadRequest(text, param=name, code="invalid_type")


# --- downloading ---------------------------------------------------------------------------------------------------


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for block in rest:
        yield block


def _span(call: Request, size: int) -> tuple[int, int] | None:
    """The range of bytes that is asked for, its end not included; None for the whole. Errors: 416.

    What is no single range is passed over, and so is one on a condition, since files have no tags to compare.
    """
    found = _RANGE.fullmatch(call.header(b"range") or "")
    if found is None or call.header(b"if-range") is not None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < int(first):
        return None
    if start >= end:
        text = f"Invalid range: the file has {size} bytes."
        raise ApiError(416, text, headers={"content-range": f"bytes */{size}"})
    return start, end


_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)


def _attachment(filename: str) -> str:
    """A ``Content-Disposition`` that says the name in ASCII and, where that is not all of it, in UTF-8 (RFC 6266)."""
    plain = "".join(character if character in _PLAIN else "_" for character in filename)
    header = f'attachment; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=UTF-8''{quote(filename, safe='')}"


_PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - frozenset('"\\/%;')
