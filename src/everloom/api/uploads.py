"""The Uploads tag: a large file in parts, which come in any order and side by side."""

from everloom.api.http.forms import check_format, plain_filename, refuse_too_long
from everloom.api.http.multipart import form_parts
from everloom.api.http.routes import Request, Routes
from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.uploads import NewUpload, PartBlob, Upload, UploadCompletion, UploadPart
from everloom.requests.file_sizes import at_most
from everloom.requests.validation import invalid, missing, unknown
from everloom.work.files import uploads
from everloom.work.files.blobs import NewBlob

routes = Routes(permission="files")

PART_BYTES = 64 * 1024 * 1024
"""What a part may have."""


@routes.post("/uploads")
async def create_upload(ctx: Context, body: NewUpload) -> Upload:
    """createUpload."""
    filename = plain_filename(body.filename, "filename")
    check_format(body.purpose, filename)
    return await uploads.begin(ctx, body, filename)


@routes.post("/uploads/{upload_id}/parts")
async def add_upload_part(ctx: Context, call: Request, upload_id: str) -> UploadPart:
    """addUploadPart: the bytes go to the blob store as they arrive. What was not answered was not taken."""
    await uploads.check_room(ctx, upload_id)
    refuse_too_long(call, PART_BYTES, "data")
    async with NewBlob(ctx, new_id("part_")) as blob:
        size = await _receive(call, blob)
        part = PartBlob(id=blob.id, created_at=now(), upload_id=upload_id, bytes=size)
        await blob.keep(*uploads.taking(part))
    return UploadPart(id=part.id, created_at=part.created_at, upload_id=upload_id)


@routes.post("/uploads/{upload_id}/complete")
async def complete_upload(ctx: Context, upload_id: str, body: UploadCompletion) -> Upload:
    """completeUpload."""
    return await uploads.complete(ctx, upload_id, body)


@routes.post("/uploads/{upload_id}/cancel")
async def cancel_upload(ctx: Context, upload_id: str) -> Upload:
    """cancelUpload."""
    return await uploads.cancel(ctx, upload_id)


async def _receive(call: Request, blob: NewBlob) -> int:
    """Read the form, whose only field is the part: with a filename or, as in the reference's example, without."""
    size: int | None = None
    async for part in form_parts(call.stream(), call.header(b"content-type")):
        if part.name != "data":
            raise unknown(part.name[:256])
        if size is not None:
            raise invalid("data", "too many files. Expected one file.", "invalid_value")
        size = await blob.put(at_most(PART_BYTES, part, "data"))
    if size is None:
        raise missing("data")
    return size
