"""Files (OpenAIFile) and the assistant's list of them, kept for programs that attach files one by one."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from everloom.objects.base import Object

UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""What a caller may upload a file for; the other purposes are of files the server makes."""

Purpose = UploadPurpose | Literal["assistants_output", "batch_output", "fine-tune-results"]


class File(Object, kw_only=True):
    """An uploaded or produced file; its bytes are the blob named by its id."""

    object: Literal["file"] = "file"
    bytes: int
    filename: str
    purpose: Purpose
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None
    expires_at: int | UnsetType = UNSET


class FileExpiresAfter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many seconds after it was made a file is to be deleted: an hour to thirty days (FileExpirationAfter)."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=2_592_000)]


class FileDeadline(Object, kw_only=True):
    """When a file is to be deleted; its id is the file's, and its rank the time, so that the next stand first."""

    expires_at: int
    pending: bool = True
    """Always: what those of all projects are found by."""


class FileDigest(Object, kw_only=True):
    """What a file's bytes were when they were kept, never shown; its id is the file's. Files of earlier days have none.

    ``sha256`` in hex.
    """

    sha256: str


class AssistantFile(Object, kw_only=True):
    """A file attached to an assistant by itself; ``id`` is the attachment's own, the wire shows ``file_id``."""

    assistant_id: str
    file_id: str
