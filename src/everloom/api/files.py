"""The Files tag: bytes that assistants, batches and fine-tuning work on."""

from collections.abc import AsyncIterator
from typing import Annotated, get_args
from urllib.parse import quote

from msgspec import Meta

from everloom.api.explain import invalid, missing, unknown, unsupported_value
from everloom.api.http import Call, Download, route
from everloom.api.multipart import Part, form_parts
from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, BadRequest, NotFound
from everloom.kit.ids import new_id
from everloom.objects.assistants import Assistant
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.files import AssistantFile, File, UploadPurpose
from everloom.store.base import Add, Change, Remove

UPLOAD_PURPOSES: tuple[UploadPurpose, ...] = get_args(UploadPurpose)

_FORM_BYTES = 1024 * 1024
"""What a form may have around its file."""


class FilesQuery(PageQuery, frozen=True, kw_only=True):
    """The parameters of a list of files: by default it is one long page."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    purpose: str | None = None


@route("POST", "/files")
async def create_file(ctx: Context, call: Call) -> File:
    """createFile: the bytes go to the blob store as they arrive, and are taken back if the form turns out wrong."""
    _refuse_too_long(ctx, call)
    id = new_id("file-")
    try:
        file = await _receive(ctx, call, id)
        await ctx.store.write(Add(file))
    except BaseException:
        await ctx.ports.blobs.remove(id)
        raise
    return file


@route("GET", "/files")
async def list_files(ctx: Context, page: FilesQuery) -> Page[File]:
    """listFiles."""
    if page.purpose is None:
        return await ctx.store.find(File, page)
    return await ctx.store.find(File, page, purpose=page.purpose)


@route("GET", "/files/{file_id}")
async def retrieve_file(ctx: Context, file_id: str) -> File:
    """retrieveFile."""
    return await ctx.store.get(File, file_id)


@route("GET", "/files/{file_id}/content")
async def download_file(ctx: Context, file_id: str) -> Download:
    """downloadFile. The platform may have refused files of purpose ``assistants``; here they are their owner's."""
    file = await ctx.store.get(File, file_id)
    blocks = ctx.ports.blobs.read(file.id)
    try:
        first = await anext(blocks, b"")
    except FileNotFoundError as error:
        raise NotFound(f"No such File object: {file.id}", param="id") from error
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(file.bytes),
        "content-disposition": _attachment(file.filename),
    }
    return Download(_chain(first, blocks), headers)


@route("DELETE", "/files/{file_id}")
async def delete_file(ctx: Context, file_id: str) -> Deleted:
    """deleteFile: the file goes, and with it its attachments to assistants."""
    while True:
        await ctx.store.get(File, file_id)
        holders = [holder.id for holder in await ctx.store.all(Assistant) if file_id in _code_files(holder)]
        try:
            await ctx.store.write(
                Remove(File, file_id),
                Remove(AssistantFile, file_id=file_id),
                *(Change(Assistant, id, lambda assistant: _detach(assistant, file_id)) for id in holders),
            )
            break
        except NotFound:
            continue  # The file has gone meanwhile, which the next look tells, or an assistant has.
    await ctx.ports.blobs.remove(file_id)
    return Deleted(id=file_id, object="file")


# --- uploading -----------------------------------------------------------------------------------------------------


async def _receive(ctx: Context, call: Call, id: str) -> File:
    """Read the form, its file into the blob called ``id``. The fields may come in any order."""
    purpose: UploadPurpose | None = None
    filename: str | None = None
    size = 0
    async for part in form_parts(call.stream(), call.header(b"content-type")):
        if part.name == "purpose":
            purpose = await _purpose(part)
        elif part.name == "file":
            if filename is not None:
                raise invalid("file", "too many files. Expected one file.", "invalid_value")
            filename = _filename(part)
            size = await ctx.ports.blobs.put(id, _at_most(ctx.ports.limits.file_bytes, part))
        else:
            raise unknown(part.name[:256])
    if filename is None:
        raise missing("file")
    if purpose is None:
        raise missing("purpose")
    if purpose == "batch" and not filename.endswith(".jsonl"):
        raise BadRequest("Invalid file format for Batch API. Must be .jsonl")
    return File(id=id, created_at=now(), bytes=size, filename=filename, purpose=purpose)


async def _purpose(part: Part) -> UploadPurpose:
    if part.filename is not None:
        raise _wrong_type("purpose", "a string", "a file")
    value = await part.text()
    for purpose in UPLOAD_PURPOSES:
        if value == purpose:
            return purpose
    raise unsupported_value("purpose", value, UPLOAD_PURPOSES)


def _filename(part: Part) -> str:
    if part.filename is None:
        raise _wrong_type("file", "a file", "a string")
    if not part.filename:
        raise missing("file")  # A browser's form in which no file was chosen.
    return part.filename


def _wrong_type(name: str, expected: str, got: str) -> BadRequest:
    text = f"Invalid type for '{name}': expected {expected}, but got {got} instead."
    return BadRequest(text, param=name, code="invalid_type")


async def _at_most(limit: int, blocks: AsyncIterator[bytes] | Part) -> AsyncIterator[bytes]:
    size = 0
    async for block in blocks:
        size += len(block)
        if size > limit:
            raise _too_large(limit, size)
        yield block


def _refuse_too_long(ctx: Context, call: Call) -> None:
    """Say no before the bytes come, where the client said how many there will be."""
    limit = ctx.ports.limits.file_bytes
    declared = call.header(b"content-length") or ""
    if declared.isdigit() and len(declared) < 20 and int(declared) > limit + _FORM_BYTES:
        raise _too_large(limit, int(declared))


def _too_large(limit: int, size: int) -> ApiError:
    text = f"Maximum content size limit ({limit}) exceeded ({size} bytes read)"
    return ApiError(413, text, param="file", code="file_too_large")


# --- downloading ---------------------------------------------------------------------------------------------------


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for block in rest:
        yield block


def _attachment(filename: str) -> str:
    """A ``Content-Disposition`` that says the name in ASCII and, where that is not all of it, in UTF-8 (RFC 6266)."""
    plain = "".join(character if character in _PLAIN else "_" for character in filename)
    header = f'attachment; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=UTF-8''{quote(filename, safe='')}"


_PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - frozenset('"\\/%;')


# --- deleting ------------------------------------------------------------------------------------------------------


def _code_files(assistant: Assistant) -> list[str]:
    resources = assistant.tool_resources.code_interpreter
    return resources.file_ids if resources else []


def _detach(assistant: Assistant, file_id: str) -> None:
    resources = assistant.tool_resources.code_interpreter
    if resources:
        resources.file_ids = [id for id in resources.file_ids if id != file_id]
