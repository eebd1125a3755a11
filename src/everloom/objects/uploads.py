"""Uploads: a large file that comes in parts, and what is kept about it that nobody is shown."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from everloom.objects.base import Object
from everloom.objects.files import File, FileExpiresAfter, UploadPurpose

MAX_UPLOAD_BYTES = 8 * 1024**3
"""What the parts of an upload may have together; the reference says 8 GB."""

MAX_PARTS = 10_000
"""Parts an upload may have: 8 GB in pieces of less than a megabyte."""

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class Upload(Object, kw_only=True):
    """A file on its way. ``bytes`` is how many it is to have; ``file`` is there once it is completed."""

    object: Literal["upload"] = "upload"
    bytes: int
    filename: str
    purpose: UploadPurpose
    status: UploadStatus = "pending"
    expires_at: int
    file: File | None = None


class UploadPart(Object, kw_only=True):
    """The answer to a part that was taken."""

    object: Literal["upload.part"] = "upload.part"
    upload_id: str


class PartBlob(Object, kw_only=True):
    """A part that was taken, until its upload ends; its bytes are the blob named by its id."""

    upload_id: str
    bytes: int


class UploadTally(Object, kw_only=True):
    """What an upload has taken so far; its id is the upload's.

    ``open`` until its parts are taken away again; ``ended`` once no more may come. ``completed_by`` is the request
    that completed it, so that the same request, sent again after a crash, is answered as it would have been.
    ``file_expires_after`` is what the file will have.
    """

    expires_at: int
    parts: int = 0
    bytes: int = 0
    ended: bool = False
    open: bool = True
    completed_by: "UploadCompletion | None" = None
    file_expires_after: FileExpiresAfter | None = None


class BlobDraft(Object, kw_only=True):
    """A blob that no object speaks of: one being written, or (``pending_delete``) to be taken away. Its id is the
    blob's name.

    Kept before the first byte and removed with the write that keeps the object, so that a crash leaves no bytes
    that nobody knows of. ``touched_at`` says when its writer was last seen alive.
    """

    touched_at: int
    pending_delete: bool = field(default=False, name="doomed")
    """Kept under its older name."""
    writer: str = ""
    """The process that an import's is of (``kit/process_identity.py``)."""


class NewUpload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An upload to be (CreateUploadRequest). The type of a file is told by its name; ``mime_type`` is not kept."""

    filename: str
    purpose: UploadPurpose
    bytes: Annotated[int, Meta(ge=0, le=MAX_UPLOAD_BYTES)]
    mime_type: Annotated[str, Meta(max_length=256)]
    expires_after: FileExpiresAfter | None = None
    """Of the file that it becomes."""


class UploadCompletion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parts of a file in their order, and its checksum where the caller knows it (CompleteUploadRequest)."""

    part_ids: Annotated[list[str], Meta(max_length=MAX_PARTS)]
    md5: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{32}\Z")] | None = None
