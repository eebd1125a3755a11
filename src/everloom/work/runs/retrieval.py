"""``file_search`` at work: the stores of assistant and thread are searched, passages get marks to be cited by."""

from msgspec import UNSET

from everloom.context import Context
from everloom.objects.runs import Run, Source
from everloom.objects.steps import FileSearchOutcome, FileSearchStepCall, SearchResult, SearchText
from everloom.objects.threads import Thread
from everloom.objects.tools import FileSearchTool, RankingOptions
from everloom.tools.file_search import query_of
from everloom.work.runs.tool_execution import Performance
from everloom.work.vector_stores.search import SearchOptions, default_limit, search
from everloom.work.vector_stores.stores import check_alive, wait_for_thread_store

SHARE = 0.4
CHARACTERS_A_TOKEN = 3

QUOTE = 300
"""Characters of a passage that a citation quotes."""


async def stores_ready(ctx: Context, run: Run) -> None:
    """Wait for the thread's store, a minute at most. Errors: ``ToolFailure`` for a store that is gone or expired."""
    thread = await ctx.store.get(Thread, run.thread_id)
    await wait_for_thread_store(ctx, thread)
    await check_alive(ctx, store_ids(run, thread))


def store_ids(run: Run, thread: Thread) -> list[str]:
    """The vector stores that a run may search: its assistant's and its thread's."""
    ids: list[str] = []
    for resources in (run.tool_resources, thread.tool_resources):
        if resources.file_search:
            ids += resources.file_search.vector_store_ids
    return list(dict.fromkeys(ids))


async def search_files(performance: Performance) -> None:
    """Answer one call to file search."""
    ctx, run = performance.ctx, performance.run
    thread = await ctx.store.get(Thread, run.thread_id)
    options = _options(run)
    found = await search(ctx, store_ids(run, thread), query_of(performance.work.arguments), options)
    passages, results = [], []
    left = await _room(ctx, run)
    for position, result in enumerate(found):
        text = "\n".join(block.text for block in result.content)
        text, left = text[: max(left, 0)], left - len(text)
        if not text:
            break
        mark = f"【{performance.ordinal}:{position}†source】"
        passages.append(f"{mark}\n{text}")
        performance.sources.append(Source(mark=mark, file_id=result.file_id, quote=text[:QUOTE]))
        results.append(
            SearchResult(
                file_id=result.file_id,
                file_name=result.filename,
                score=result.score,
                content=[SearchText(text=block.text) for block in result.content],
            )
        )
    call = performance.call
    assert isinstance(call, FileSearchStepCall)
    ranking = RankingOptions(ranker="default_2024_08_21", score_threshold=options.score_threshold)
    performance.call = FileSearchStepCall(
        id=call.id, file_search=FileSearchOutcome(ranking_options=ranking, results=results)
    )
    performance.output = "\n\n".join(passages) or "Nothing was found in the user's files."


async def _room(ctx: Context, run: Run) -> int:
    """How many characters of passages the model may be given: some four tenths of what it reads."""
    backend, model = ctx.models.resolve(run.model, "chat")
    return int((await backend.traits(model)).context_window * CHARACTERS_A_TOKEN * SHARE)


def _options(run: Run) -> SearchOptions:
    """What the run's tool asks of a search."""
    tool = next((tool for tool in run.tools if isinstance(tool, FileSearchTool)), FileSearchTool())
    limit, threshold = default_limit(run.model), 0.0
    if tool.file_search is not UNSET:
        if tool.file_search.max_num_results is not UNSET:
            limit = tool.file_search.max_num_results
        if tool.file_search.ranking_options is not UNSET:
            threshold = tool.file_search.ranking_options.score_threshold
    return SearchOptions(limit=limit, score_threshold=threshold)
