"""Batches (Batch), the table of their states, and what is kept about them but never shown."""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from everloom.objects.base import Metadata, Object
from everloom.objects.files import FileExpiresAfter

Endpoint = Literal[
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
]
"""What the lines of a batch may ask for; the reference of 2024 has the first three."""

UnversionedEndpoint = Literal["/chat/completions", "/embeddings", "/completions"]
"""As programs for Azure name them, in a batch and in its lines."""

BY_NAME: Mapping[str, Endpoint] = {
    name: endpoint for endpoint in get_args(Endpoint) for name in (endpoint, endpoint.removeprefix("/v1"))
}
"""The endpoint by either of its names."""

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]

NEXT: dict[BatchStatus, frozenset[BatchStatus]] = {
    "validating": frozenset({"failed", "in_progress", "cancelling", "expired"}),
    "in_progress": frozenset({"finalizing", "cancelling"}),
    "finalizing": frozenset({"completed", "expired"}),
    "cancelling": frozenset({"cancelled"}),
    "failed": frozenset(),
    "completed": frozenset(),
    "expired": frozenset(),
    "cancelled": frozenset(),
}
"""Where a batch may go from each state. Those with nothing behind them are terminal."""

TERMINAL = frozenset(status for status, after in NEXT.items() if not after)

WINDOW_SECONDS = 86_400
"""What ``24h`` means: the only completion window there is."""


class BatchError(Struct, kw_only=True):
    """A fault of the input file; ``line`` counts from 1, as editors do."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(Struct, kw_only=True):
    """How many lines a batch has (BatchRequestCounts); ``failed`` are those in its error file."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class InputDetails(Struct, kw_only=True):
    cached_tokens: int = 0


class OutputDetails(Struct, kw_only=True):
    reasoning_tokens: int = 0


class BatchUsage(Struct, kw_only=True):
    """The tokens of all answers that were kept."""

    input_tokens: int = 0
    input_tokens_details: InputDetails = field(default_factory=InputDetails)
    output_tokens: int = 0
    output_tokens_details: OutputDetails = field(default_factory=OutputDetails)
    total_tokens: int = 0


class Batch(Object, kw_only=True):
    """Requests of a file, each to be answered within a day (Batch). ``model`` and ``usage`` are of the newest
    reference: they are there once the file has been looked at.
    """

    object: Literal["batch"] = "batch"
    endpoint: Endpoint
    model: str | UnsetType = UNSET
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: Literal["24h"]
    status: BatchStatus = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = field(default_factory=RequestCounts)
    usage: BatchUsage | UnsetType = UNSET
    metadata: Metadata | None = None

    @property
    def open(self) -> bool:
        """Whether something is still to come of it."""
        return self.status not in TERMINAL


class NewBatch(Struct, kw_only=True, forbid_unknown_fields=True):
    """A batch to be (createBatch)."""

    input_file_id: str
    endpoint: Endpoint | UnversionedEndpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: FileExpiresAfter | None = None


class BatchRetry(Struct, kw_only=True, forbid_unknown_fields=True):
    """What there is to say about a second attempt at what has failed: nothing."""


class BatchWork(Object, kw_only=True):
    """How a batch is to be worked on; its id is the batch's.

    ``key_id`` and ``user`` are of who made it: what its lines ask is counted to them. ``base_url`` is where its maker
    reached this server, for links to images. ``segments`` is how many there are, once the file has been looked at.
    ``swept`` once nothing of it is left that only its work needed.
    """

    key_id: str
    user: str
    base_url: str
    output_expires_after: FileExpiresAfter | None = None
    segments: int = 0
    queue_id: str = ""
    """Of the ``EnqueuedTokens`` among which its own are; empty where they are not limited."""


class BatchSegment(Object, kw_only=True):
    """Lines of a batch that are worked on together; ``id`` is the batch's, and the segment's number behind a dot.

    It is ``length`` bytes of the input file from ``offset`` on. ``first`` is the number of its first line, from 1, and
    ``count`` how many requests it has: lines that are not blank. ``done`` are the numbers of those that are answered.
    Once it is ``closed`` no more is kept of it. ``failures`` is how often lines had failed without an answer that
    stands, by their numbers, when they were put off for want of a model.
    """

    batch_id: str
    offset: int
    length: int
    first: int
    count: int
    done: list[int] = []
    closed: bool = False
    failures: dict[int, int] = {}
    entered: int = 0
    """How often somebody has begun to work on it, and has neither ended nor put it off."""


class BatchAnswer(Object, kw_only=True):
    """What came of a line; ``id`` is the batch's, and the number of the line behind a dot.

    ``output`` is what stands in the output file, or in the error file where it has ``failed``.
    """

    batch_id: str
    failed: bool
    output: Raw

    @property
    def part(self) -> str:
        """Of which file of which batch it is a line."""
        return part_of(self.batch_id, failed=self.failed)


class EnqueuedTokens(Object, kw_only=True):
    """How many input tokens of a model a project's open batches have together; ``id`` is the project's and the model's
    name, with a slash between. ``tokens`` are by batch.
    """

    tokens: dict[str, int] = {}


def segment_id(batch_id: str, number: int) -> str:
    """The id of a segment; segments are counted from 0."""
    return f"{batch_id}.{number:05}"


def part_of(batch_id: str, *, failed: bool) -> str:
    """What the lines of a batch's output file, or of its error file, are found by."""
    return f"{batch_id}.{'error' if failed else 'output'}"


def answer_id(batch_id: str, line: int) -> str:
    """The id of what came of a line."""
    return f"{batch_id}.{line:08}"


CustomId = Annotated[str, Meta(min_length=1, max_length=512)]


class BatchLine(Struct, kw_only=True):
    """A request of an input file (BatchRequestInput). ``body`` is as it was written."""

    custom_id: CustomId
    method: Literal["POST"]
    url: str
    body: Raw


class LineResponse(Struct, kw_only=True):
    status_code: int
    request_id: str
    body: Raw


class LineError(Struct, kw_only=True):
    code: str
    message: str


class LineOutput(Struct, kw_only=True):
    """A line of an output or error file (BatchRequestOutput)."""

    id: str
    custom_id: str
    response: LineResponse | None
    error: LineError | None
