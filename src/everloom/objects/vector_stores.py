"""Vector stores, the files in them, and batches of files (VectorStoreObject and its family)."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from everloom.objects.base import Metadata, Object

FileStatus = Literal["in_progress", "completed", "cancelled", "failed"]

AttributeValue = str | float | bool
Attributes = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)] | float | bool],
    Meta(max_length=16),
]
"""What a file in a store can be filtered by (the newest reference has them): 16 pairs."""


class FileCounts(Struct, kw_only=True):
    """How many files of a store or a batch are in which state."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0


class ExpiresAfter(Struct, kw_only=True, forbid_unknown_fields=True):
    """A store expires this many days after its last use."""

    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class VectorStore(Object, kw_only=True):
    object: Literal["vector_store"] = "vector_store"
    name: str | None = None
    usage_bytes: int = 0
    file_counts: FileCounts = field(default_factory=FileCounts)
    status: Literal["expired", "in_progress", "completed"] = "completed"
    expires_after: ExpiresAfter | None = None
    expires_at: int | None = None
    last_active_at: int | None = None
    metadata: Metadata = {}


class StaticChunking(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes in tokens; the overlap is at most half of the chunk."""

    max_chunk_size_tokens: Annotated[int, Meta(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0)]


class StaticChunkingStrategy(Struct, frozen=True, kw_only=True, tag="static", forbid_unknown_fields=True):
    static: StaticChunking


class AutoChunkingStrategy(Struct, kw_only=True, tag="auto", forbid_unknown_fields=True):
    """800 tokens with 400 of overlap."""


class OtherChunkingStrategy(Struct, kw_only=True, tag="other"):
    """Of files that were put in before the strategy was recorded."""


ChunkingRequest = AutoChunkingStrategy | StaticChunkingStrategy

DEFAULT_CHUNKING = StaticChunkingStrategy(static=StaticChunking(max_chunk_size_tokens=800, chunk_overlap_tokens=400))


class IngestError(Struct, kw_only=True):
    code: Literal["server_error", "unsupported_file", "invalid_file", "rate_limit_exceeded"]
    message: str


class VectorStoreFile(Object, kw_only=True):
    """A file in a store. On the wire ``id`` is the file's own; the table's key is ``vector_store_id`` and it."""

    object: Literal["vector_store.file"] = "vector_store.file"
    usage_bytes: int = 0
    vector_store_id: str
    status: FileStatus = "in_progress"
    last_error: IngestError | None = None
    chunking_strategy: StaticChunkingStrategy | OtherChunkingStrategy = DEFAULT_CHUNKING
    attributes: dict[str, AttributeValue] = {}


class FileBatch(Object, kw_only=True):
    """Files put into a store together. The wire said ``vector_store.file_batch``, the reference ``files_batch``."""

    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    vector_store_id: str
    status: FileStatus = "in_progress"
    file_counts: FileCounts = field(default_factory=FileCounts)


class FileBatchMember(Object, kw_only=True):
    """That a file came with a batch; ``id`` is the batch's and the file's."""

    batch_id: str
    file_id: str
    vector_store_id: str


FileIds = Annotated[list[str], Meta(min_length=1, max_length=500)]


class NewVectorStoreBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A store to be (CreateVectorStoreRequest)."""

    file_ids: Annotated[list[str], Meta(max_length=500)] = []
    name: str | None = None
    expires_after: ExpiresAfter | None = None
    chunking_strategy: ChunkingRequest | None = None
    metadata: Metadata | None = None


class VectorStoreChanges(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change about a store (UpdateVectorStoreRequest)."""

    name: str | None | UnsetType = UNSET
    expires_after: ExpiresAfter | None | UnsetType = UNSET
    metadata: Metadata | None | UnsetType = UNSET


class NewVectorStoreFile(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file for a store (CreateVectorStoreFileRequest)."""

    file_id: str
    chunking_strategy: ChunkingRequest | None = None
    attributes: Attributes | None = None


class NewFileBatch(Struct, kw_only=True, forbid_unknown_fields=True):
    """Files for a store (CreateVectorStoreFileBatchRequest)."""

    file_ids: FileIds
    chunking_strategy: ChunkingRequest | None = None
    attributes: Attributes | None = None
