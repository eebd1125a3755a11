"""Search in vector stores: by meaning and by words, fused.

A chunk has two merits: ``d``, its cosine to the query (0 where that is negative), and ``w``, the share of the
query's words that it holds, each word counted by its rarity (0..1). Its score is ``1 - (1 - d)(1 - w / 2)``:
between 0 and 1, growing with either, and never less than its nearness. Unlike a fusion of ranks it says how
well a chunk fits and not only that nothing fits better, which is what a ``score_threshold`` asks.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from everloom.context import Context
from everloom.objects.base import JsonObject
from everloom.objects.files import File
from everloom.objects.vector_stores import (
    SearchResult,
    StoreModel,
    TextBlock,
    VectorStore,
    VectorStoreFile,
    file_key,
)
from everloom.vectors.base import Found
from everloom.work.inference.embeddings import embed
from everloom.work.vector_stores.filters import filter_of
from everloom.work.vector_stores.stores import touch

_DEPTH = 50
"""How far down both lists are looked, at least."""


class SearchOptions(Struct, frozen=True, kw_only=True):
    """``limit``: results at most. ``filters``: see ``vector_stores/filters.py``."""

    limit: int = 10
    score_threshold: float = 0.0
    filters: JsonObject | None = None


async def search(
    ctx: Context, store_ids: Sequence[str], query: str, options: SearchOptions | None = None
) -> list[SearchResult]:
    """The chunks of these stores that answer ``query`` best, best first.

    Stores that are gone or have expired are passed over (``vector_stores.check_alive`` asks for them to be
    there). Errors: 400 for a filter that is none, ``ApiError`` where the embedding model fails.
    """
    options = options or SearchOptions()
    stores = [store for store in await ctx.store.all(VectorStore, id=list(store_ids)) if store.status != "expired"]
    within = await _within(ctx, stores, options.filters)
    if not stores or not query.strip():
        return []
    vectors = await _query_vectors(ctx, stores, query)
    depth = max(_DEPTH, 2 * options.limit)
    merits = await asyncio.gather(
        *(
            _merits(ctx, store.id, query, vectors[store.id], depth, within.get(store.id))
            for store in stores
            if store.id in vectors  # else it has been deleted since
        )
    )
    scored = sorted((item for found in merits for item in found), key=lambda item: -item[0])
    results = await _shown(ctx, (item for item in scored if item[0] >= options.score_threshold), options.limit)
    await touch(ctx, stores)
    return results


async def _within(
    ctx: Context, stores: Iterable[VectorStore], filters: JsonObject | None
) -> dict[str, Collection[str]]:
    """The files of each store that a filter leaves; nothing where there is no filter."""
    if filters is None:
        return {}
    fits = filter_of(filters)
    return {
        store.id: [
            file.id for file in await ctx.store.all(VectorStoreFile, vector_store_id=store.id) if fits(file.attributes)
        ]
        for store in stores
    }


async def _query_vectors(ctx: Context, stores: Sequence[VectorStore], query: str) -> dict[str, Sequence[float]]:
    """The query as each store's own model sees it."""
    models = {row.id: row.model for row in await ctx.store.all(StoreModel, id=[store.id for store in stores])}
    seen = {}
    for model in dict.fromkeys(models.values()):
        (seen[model],) = await embed(ctx, model, [query])
    return {store_id: seen[model] for store_id, model in models.items()}


async def _merits(
    ctx: Context, store_id: str, query: str, vector: Sequence[float], depth: int, files: Collection[str] | None
) -> list[tuple[float, str, Found]]:
    """(score, store, chunk) of what either way finds in one store."""
    vectors = ctx.ports.vectors
    near, held = await asyncio.gather(
        vectors.nearest(ctx.project, store_id, vector, depth, files),
        vectors.matching(ctx.project, store_id, query, depth, files),
    )
    chunks = {(found.file_id, found.position): found for found in (*near, *held)}
    nearness = {(found.file_id, found.position): max(0.0, found.score) for found in near}
    words = {(found.file_id, found.position): found.score for found in held}
    return [
        (score(nearness.get(place, 0.0), words.get(place, 0.0)), store_id, found) for place, found in chunks.items()
    ]


def score(nearness: float, words: float) -> float:
    """One merit of two, each 0..1: see the head of this file."""
    return 1 - (1 - nearness) * (1 - words / 2)


async def _shown(ctx: Context, scored: Iterable[tuple[float, str, Found]], limit: int) -> list[SearchResult]:
    """The best as callers see them, of files that are still there; a file that is in two stores counts once."""
    candidates = list(scored)
    keys = {file_key(store_id, found.file_id) for _, store_id, found in candidates}
    rows = {row.key: row for row in await ctx.store.all(VectorStoreFile, id=sorted(keys))}
    files = {file.id: file for file in await ctx.store.all(File, id=sorted({row.id for row in rows.values()}))}
    results: dict[tuple[str, int, str], SearchResult] = {}
    for merit, store_id, found in candidates:
        row, file = rows.get(file_key(store_id, found.file_id)), files.get(found.file_id)
        if row is None or file is None or row.status not in ("completed", "in_progress"):
            continue
        results.setdefault(
            (found.file_id, found.position, found.text),
            SearchResult(
                file_id=found.file_id,
                filename=file.filename,
                score=round(merit, 6),
                attributes=row.attributes,
                content=[TextBlock(text=found.text)],
            ),
        )
        if len(results) == limit:
            break
    return list(results.values())
