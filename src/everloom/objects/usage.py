"""What the usage endpoints answer: buckets of time with results (UsageResponse and its family)."""

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from everloom.objects.ledger import UsageKind

ApiSource = Literal["unlabeled"]
"""Through which of the platform's products a request came: here all come by themselves."""


class UsageResult(Struct, kw_only=True):
    """The sums of one group in one bucket; a key that was not grouped by, or that nobody had, is null.

    ``kinds`` of rows are summed, and the ``sums`` of them are shown under these names.
    """

    kinds: ClassVar[tuple[UsageKind, ...]]
    sums: ClassVar[dict[str, str]]
    project_id: str | None = None


class ModelUsageResult(UsageResult, kw_only=True):
    """Of requests to models."""

    num_model_requests: int
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None


class CompletionsUsage(ModelUsageResult, kw_only=True):
    """Chat completions, completions, and what runs have asked of models."""

    kinds = ("chat", "complete")
    sums = {
        "input_tokens": "input_tokens",
        "output_tokens": "output_tokens",
        "num_model_requests": "requests",
        "input_cached_tokens": "cached_tokens",
        "input_audio_tokens": "input_audio_tokens",
        "output_audio_tokens": "output_audio_tokens",
    }
    object: Literal["organization.usage.completions.result"] = "organization.usage.completions.result"
    input_tokens: int
    output_tokens: int
    input_cached_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int
    batch: bool | None = None
    service_tier: str | None | UnsetType = UNSET
    """Nobody keeps it here. This and the next are shown where they are asked for."""
    api_source: ApiSource | UnsetType = UNSET


class EmbeddingsUsage(ModelUsageResult, kw_only=True):
    kinds = ("embed",)
    sums = {"input_tokens": "input_tokens", "num_model_requests": "requests"}
    object: Literal["organization.usage.embeddings.result"] = "organization.usage.embeddings.result"
    input_tokens: int


class ModerationsUsage(ModelUsageResult, kw_only=True):
    kinds = ("moderate",)
    sums = {"input_tokens": "input_tokens", "num_model_requests": "requests"}
    object: Literal["organization.usage.moderations.result"] = "organization.usage.moderations.result"
    input_tokens: int


class ImagesUsage(ModelUsageResult, kw_only=True):
    kinds = ("draw",)
    sums = {"images": "images", "num_model_requests": "requests"}
    object: Literal["organization.usage.images.result"] = "organization.usage.images.result"
    images: int
    size: str | None = None
    source: str | None = None


class AudioSpeechesUsage(ModelUsageResult, kw_only=True):
    kinds = ("speak",)
    sums = {"characters": "characters", "num_model_requests": "requests"}
    object: Literal["organization.usage.audio_speeches.result"] = "organization.usage.audio_speeches.result"
    characters: int


class AudioTranscriptionsUsage(ModelUsageResult, kw_only=True):
    """Transcriptions and translations, in whole seconds of sound."""

    kinds = ("transcribe",)
    sums = {"seconds": "milliseconds", "num_model_requests": "requests"}
    object: Literal["organization.usage.audio_transcriptions.result"] = "organization.usage.audio_transcriptions.result"
    seconds: int


class VectorStoresUsage(UsageResult, kw_only=True):
    """Bytes in use, the mean of the hours that begin in the bucket."""

    kinds = ("storage",)
    sums = {"usage_bytes": "bytes"}
    object: Literal["organization.usage.vector_stores.result"] = "organization.usage.vector_stores.result"
    usage_bytes: int


class CodeInterpreterSessionsUsage(UsageResult, kw_only=True):
    """Sessions of the code interpreter; the reference says ``sessions``, the newest ``num_sessions``."""

    kinds = ("session",)
    sums = {"sessions": "requests", "num_sessions": "requests"}
    object: Literal["organization.usage.code_interpreter_sessions.result"] = (
        "organization.usage.code_interpreter_sessions.result"
    )
    sessions: int
    num_sessions: int


class FileSearchCallsUsage(UsageResult, kw_only=True):
    """Searches of runs. One that looked into several vector stores has none of them."""

    kinds = ("search",)
    sums = {"num_requests": "requests"}
    object: Literal["organization.usage.file_searches.result"] = "organization.usage.file_searches.result"
    num_requests: int
    user_id: str | None = None
    api_key_id: str | None = None
    vector_store_id: str | None = None


class WebSearchCallsUsage(ModelUsageResult, kw_only=True):
    """Nothing here searches the web, so there are none."""

    kinds = ()
    sums = {"num_requests": "requests", "num_model_requests": "requests"}
    object: Literal["organization.usage.web_searches.result"] = "organization.usage.web_searches.result"
    num_requests: int
    context_level: str | None = None
    api_source: ApiSource | UnsetType = UNSET


class CostAmount(Struct, kw_only=True):
    value: float
    currency: Literal["usd"] = "usd"


class CostsResult(Struct, kw_only=True):
    """US dollars by the operator's prices, or those that are published. ``quantity``: of what a line item counts."""

    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: CostAmount
    line_item: str | None = None
    project_id: str | None = None
    user_id: str | None | UnsetType = UNSET
    api_key_id: str | None = None
    api_source: ApiSource | UnsetType = UNSET
    organization_id: str
    quantity: float | None = None
    quantity_unit: str | None = None


class UsageBucket(Struct, kw_only=True):
    """From ``start_time`` on and before ``end_time`` (UsageTimeBucket, whose ``result`` is called ``results``)."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[UsageResult] | list[CostsResult]


class UsagePage(Struct, kw_only=True):
    """Buckets in the order of time (UsageResponse); ``next_page`` is null on the last page."""

    object: Literal["page"] = "page"
    data: list[UsageBucket]
    has_more: bool
    next_page: str | None = None


# --- what is asked -------------------------------------------------------------------------------------------------

Time = Annotated[int, Meta(ge=0, le=253_402_300_799)]
"""Unix seconds up to the year 9999."""

Names = Annotated[list[str], Meta(max_length=1000)]


_Group = Literal[
    "project_id",
    "user_id",
    "api_key_id",
    "model",
    "batch",
    "service_tier",
    "size",
    "source",
    "vector_store_id",
    "context_level",
    "api_source",
]

GroupBy = list[_Group]
"""What one kind of usage or another can be told apart by. Exporters ask all kinds for all of it, so what a kind has not
is passed over.
"""


class BucketQuery(Struct, frozen=True, kw_only=True):
    """The time that is asked for, cut in buckets; ``limit`` of them a page, which depends on their width."""

    start_time: Time
    end_time: Time | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None
    page: str | None = None
    project_ids: Names = field(default_factory=list)


class UsageQuery(BucketQuery, frozen=True, kw_only=True):
    bucket_width: Literal["1m", "1h", "1d"] = "1d"


class ProjectUsageQuery(UsageQuery, frozen=True, kw_only=True):
    """Usage that is told apart by project alone."""

    group_by: GroupBy = field(default_factory=list)


class CallerUsageQuery(UsageQuery, frozen=True, kw_only=True):
    """Usage of models, chosen by who asked which."""

    user_ids: Names = field(default_factory=list)
    api_key_ids: Names = field(default_factory=list)
    models: Names = field(default_factory=list)


class ModelUsageQuery(CallerUsageQuery, frozen=True, kw_only=True):
    group_by: GroupBy = field(default_factory=list)


class CompletionsUsageQuery(ModelUsageQuery, frozen=True, kw_only=True):
    batch: bool | None = None


class FileSearchCallsUsageQuery(UsageQuery, frozen=True, kw_only=True):
    user_ids: Names = field(default_factory=list)
    api_key_ids: Names = field(default_factory=list)
    vector_store_ids: Names = field(default_factory=list)
    group_by: GroupBy = field(default_factory=list)


class WebSearchCallsUsageQuery(ModelUsageQuery, frozen=True, kw_only=True):
    context_levels: list[Literal["low", "medium", "high"]] = field(default_factory=list)


class ImagesUsageQuery(ModelUsageQuery, frozen=True, kw_only=True):
    sources: list[Literal["image.generation", "image.edit", "image.variation"]] = field(default_factory=list)
    sizes: Names = field(default_factory=list)
    """Of any kind: the platform's newer models, and others, draw in sizes that its reference does not list."""


AnyUsageQuery = ProjectUsageQuery | ModelUsageQuery | FileSearchCallsUsageQuery


class CostsQuery(BucketQuery, frozen=True, kw_only=True):
    bucket_width: Literal["1d"] = "1d"
    api_key_ids: Names = field(default_factory=list)
    line_items: Names = field(default_factory=list)
    group_by: list[Literal["project_id", "user_id", "line_item", "api_key_id", "api_source"]] = field(
        default_factory=list
    )
