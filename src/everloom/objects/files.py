"""Files (OpenAIFile) and the assistant's list of them, kept for programs that attach files one by one."""

from typing import Literal

from everloom.objects.base import Object

Purpose = Literal[
    "assistants", "assistants_output", "batch", "batch_output", "fine-tune", "fine-tune-results", "vision"
]

UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision"]
"""What a caller may upload a file for; the other purposes are of files the server makes."""


class File(Object, kw_only=True):
    """An uploaded or produced file; its bytes are the blob named by its id."""

    object: Literal["file"] = "file"
    bytes: int
    filename: str
    purpose: Purpose
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None


class FileDigest(Object, kw_only=True):
    """What a file's bytes were when they were kept, never shown; its id is the file's. Files of earlier days have none.

    ``sha256`` in hex.
    """

    sha256: str


class AssistantFile(Object, kw_only=True):
    """A file attached to an assistant by itself; ``id`` is the attachment's own, the wire shows ``file_id``."""

    assistant_id: str
    file_id: str
