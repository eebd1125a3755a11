"""Vector stores, the files in them, and batches of files (VectorStoreObject and its family)."""

from typing import Annotated, Any, Literal

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
    description: str | UnsetType = UNSET
    usage_bytes: int = 0
    file_counts: FileCounts = field(default_factory=FileCounts)
    status: Literal["expired", "in_progress", "completed"] = "completed"
    expires_after: ExpiresAfter | None = None
    expires_at: int | None = None
    last_active_at: int | None = None
    metadata: Metadata = {}

    @property
    def mortal(self) -> bool:
        """Whether there is a time at which it expires."""
        return self.expires_at is not None and self.status != "expired"


class StoreModel(Object, kw_only=True):
    """The embedding model that a store's vectors were made with; ``id`` is the store's.

    A store keeps it: vectors of two models cannot be compared.
    """

    model: str


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

    @property
    def key(self) -> str:
        """What the table knows it by."""
        return file_key(self.vector_store_id, self.id)

    @property
    def file_id(self) -> str:
        """Its id, as a column to find it by in whatever store it is."""
        return self.id

    @property
    def open(self) -> bool:
        """Whether it is still to be read."""
        return self.status == "in_progress"


def file_key(store_id: str, file_id: str) -> str:
    """The key of a file in a store."""
    return f"{store_id}.{file_id}"


class FileBatch(Object, kw_only=True):
    """Files put into a store together. The wire said ``vector_store.file_batch``, the reference ``files_batch``."""

    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    vector_store_id: str
    status: FileStatus = "in_progress"
    """As kept: ``cancelled`` once somebody asked for that. What is shown is counted from the files."""
    file_counts: FileCounts = field(default_factory=FileCounts)


class FileBatchMember(Object, kw_only=True):
    """That a file came with a batch; ``id`` is the batch's and the file's."""

    batch_id: str
    file_id: str
    vector_store_id: str


class IndexTask(Object, kw_only=True):
    """What is still to be done about a file's chunks, from the write that asks for it to the one that says it is done.

    ``put``: read the file and keep its chunks. ``forget``: take them away; the whole store's where ``file_id``
    is empty. Who does it takes the row away in the write that tells the outcome, so of two that work on one task
    one alone is heard, and a task that was withdrawn (a file removed, a batch cancelled) is not heard at all.
    """

    job: str
    """The key of the job that does it; a job does several."""
    vector_store_id: str
    file_id: str
    verb: Literal["put", "forget"]
    key_id: str = ""
    user: str = ""
    """Of the caller who put the file there: what reading it asks of models is theirs."""
    tries: int = 0
    """How often its embedding model was away when it was to be read."""
    moved: bool = False
    """The file was in the store before the store came here: that it is read again is no use of the store."""


MAX_BATCH = 2000
"""Files that a batch may have (500 in the reference of 2024)."""

FileIds = Annotated[list[str], Meta(min_length=1, max_length=MAX_BATCH)]


class NewVectorStore(Struct, kw_only=True, forbid_unknown_fields=True):
    """A store to be (CreateVectorStoreRequest)."""

    file_ids: Annotated[list[str], Meta(max_length=500)] = []
    name: Annotated[str, Meta(max_length=256)] | None = None
    description: Annotated[str, Meta(max_length=4096)] | None = None
    expires_after: ExpiresAfter | None = None
    chunking_strategy: ChunkingRequest | None = None
    metadata: Metadata | None = None


class VectorStoreChanges(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change about a store (UpdateVectorStoreRequest)."""

    name: Annotated[str, Meta(max_length=256)] | None | UnsetType = UNSET
    expires_after: ExpiresAfter | None | UnsetType = UNSET
    metadata: Metadata | None | UnsetType = UNSET


class NewVectorStoreFile(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file for a store (CreateVectorStoreFileRequest)."""

    file_id: str
    chunking_strategy: ChunkingRequest | None = None
    attributes: Attributes | None = None


class NewFileBatch(Struct, kw_only=True, forbid_unknown_fields=True):
    """Files for a store (CreateVectorStoreFileBatchRequest), by their ids or, since 2025, each with its settings."""

    file_ids: FileIds | UnsetType = UNSET
    files: Annotated[list[NewVectorStoreFile], Meta(min_length=1, max_length=MAX_BATCH)] | UnsetType = UNSET
    chunking_strategy: ChunkingRequest | None = None
    attributes: Attributes | None = None


class AttributesChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """New attributes in place of the old ones (UpdateVectorStoreFileAttributesRequest)."""

    attributes: Attributes | None


# --- search ----------------------------------------------------------------------------------------------------------


class SearchRanking(Struct, kw_only=True, forbid_unknown_fields=True):
    """``score_threshold``: results below it are left out. There is one ranker, whatever its name."""

    ranker: Literal["none", "auto", "default-2024-11-15", "default_2024_08_21"] = "auto"
    score_threshold: Annotated[float, Meta(ge=0, le=1)] = 0


class SearchBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to look for in a store (VectorStoreSearchRequest). ``filters``: see ``work/vector_stores/filters.py``."""

    query: Annotated[str, Meta(min_length=1)] | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1)]
    rewrite_query: bool | None = None
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | None = None
    filters: dict[str, Any] | None = None
    ranking_options: SearchRanking | None = None


class TextBlock(Struct, frozen=True, kw_only=True, tag="text"):
    """A piece of a file's text."""

    text: str


class SearchResult(Struct, kw_only=True):
    """A chunk that was found (VectorStoreSearchResultItem). ``score``: 0..1, see ``work/vector_stores/search.py``."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, AttributeValue]
    content: list[TextBlock]


class SearchResults(Struct, kw_only=True):
    """All that was found, best first (VectorStoreSearchResultsPage)."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: None = None


class FileContent(Struct, kw_only=True):
    """The text that was read from a file (VectorStoreFileContentResponse)."""

    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[TextBlock]
    has_more: bool = False
    next_page: None = None
