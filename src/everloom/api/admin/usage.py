"""Usage: what the organization has used, in buckets of time, and what that cost (usage-completions and its family)."""

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.usage import (
    AudioSpeechesUsage,
    AudioTranscriptionsUsage,
    CodeInterpreterSessionsUsage,
    CompletionsUsage,
    CompletionsUsageQuery,
    CostsQuery,
    EmbeddingsUsage,
    FileSearchCallsUsage,
    FileSearchCallsUsageQuery,
    ImagesUsage,
    ImagesUsageQuery,
    ModelUsageQuery,
    ModerationsUsage,
    ProjectUsageQuery,
    UsagePage,
    VectorStoresUsage,
    WebSearchCallsUsage,
    WebSearchCallsUsageQuery,
)
from everloom.work.usage import reports

routes = Routes(access="admin")


@routes.get("/organization/usage/completions")
async def usage_completions(ctx: Context, query: CompletionsUsageQuery) -> UsagePage:
    """usage-completions: tokens and requests of chat completions, completions and runs."""
    return await reports.usage(ctx, CompletionsUsage, query)


@routes.get("/organization/usage/embeddings")
async def usage_embeddings(ctx: Context, query: ModelUsageQuery) -> UsagePage:
    """usage-embeddings: also of files that were read into vector stores, and of searches in them."""
    return await reports.usage(ctx, EmbeddingsUsage, query)


@routes.get("/organization/usage/moderations")
async def usage_moderations(ctx: Context, query: ModelUsageQuery) -> UsagePage:
    """usage-moderations."""
    return await reports.usage(ctx, ModerationsUsage, query)


@routes.get("/organization/usage/images")
async def usage_images(ctx: Context, query: ImagesUsageQuery) -> UsagePage:
    """usage-images."""
    return await reports.usage(ctx, ImagesUsage, query)


@routes.get("/organization/usage/audio_speeches")
async def usage_audio_speeches(ctx: Context, query: ModelUsageQuery) -> UsagePage:
    """usage-audio-speeches: characters that were spoken."""
    return await reports.usage(ctx, AudioSpeechesUsage, query)


@routes.get("/organization/usage/audio_transcriptions")
async def usage_audio_transcriptions(ctx: Context, query: ModelUsageQuery) -> UsagePage:
    """usage-audio-transcriptions: seconds that were heard, translations among them."""
    return await reports.usage(ctx, AudioTranscriptionsUsage, query)


@routes.get("/organization/usage/vector_stores")
async def usage_vector_stores(ctx: Context, query: ProjectUsageQuery) -> UsagePage:
    """usage-vector-stores: bytes in use."""
    return await reports.usage(ctx, VectorStoresUsage, query)


@routes.get("/organization/usage/code_interpreter_sessions")
async def usage_code_interpreter_sessions(ctx: Context, query: ProjectUsageQuery) -> UsagePage:
    """usage-code-interpreter-sessions."""
    return await reports.usage(ctx, CodeInterpreterSessionsUsage, query)


@routes.get("/organization/usage/file_search_calls")
async def usage_file_search_calls(ctx: Context, query: FileSearchCallsUsageQuery) -> UsagePage:
    """usage-file-search-calls: searches of runs."""
    return await reports.usage(ctx, FileSearchCallsUsage, query)


@routes.get("/organization/usage/web_search_calls")
async def usage_web_search_calls(ctx: Context, query: WebSearchCallsUsageQuery) -> UsagePage:
    """usage-web-search-calls: none, since nothing here searches the web."""
    return await reports.usage(ctx, WebSearchCallsUsage, query)


@routes.get("/organization/costs")
async def usage_costs(ctx: Context, query: CostsQuery) -> UsagePage:
    """usage-costs: dollars by the prices of the settings, or those that are published."""
    return await reports.costs(ctx, query)
