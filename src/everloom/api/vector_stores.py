"""The Vector stores tag: stores of files that can be searched.

The beta header is neither asked for nor minded here, as it was not by the platform from 2025 on.
"""

from msgspec import UNSET

from everloom.api.http.routes import Routes
from everloom.context import Context
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.vector_stores import (
    NewVectorStore,
    SearchBody,
    SearchRanking,
    SearchResult,
    SearchResults,
    VectorStore,
    VectorStoreChanges,
)
from everloom.store.base import Change, change_one
from everloom.work.vector_stores import stores as vector_stores
from everloom.work.vector_stores.search import SearchOptions, search

routes = Routes(permission="vector_stores")


@routes.post("/vector_stores")
async def create_vector_store(ctx: Context, body: NewVectorStore) -> VectorStore:
    """createVectorStore. Its files are read afterwards: ``file_counts`` says how far that is."""
    return await vector_stores.create_store(
        ctx,
        name=body.name,
        description=body.description,
        file_ids=body.file_ids,
        chunking=body.chunking_strategy,
        expires_after=body.expires_after,
        metadata=body.metadata,
    )


@routes.get("/vector_stores")
async def list_vector_stores(ctx: Context, page: PageQuery) -> Page[VectorStore]:
    """listVectorStores."""
    return await ctx.store.find(VectorStore, page)


@routes.get("/vector_stores/{vector_store_id}")
async def get_vector_store(ctx: Context, vector_store_id: str) -> VectorStore:
    """getVectorStore."""
    return await ctx.store.get(VectorStore, vector_store_id)


@routes.post("/vector_stores/{vector_store_id}")
async def modify_vector_store(ctx: Context, vector_store_id: str, body: VectorStoreChanges) -> VectorStore:
    """modifyVectorStore. A store that has expired stays so."""

    def edit(store: VectorStore) -> None:
        if body.name is not UNSET:
            store.name = body.name
        if body.metadata is not UNSET:
            store.metadata = body.metadata or {}
        if body.expires_after is not UNSET and not vector_stores.has_expired(store):
            store.expires_after = body.expires_after
            vector_stores.keep_alive(store)

    return await change_one(ctx.store, Change(VectorStore, vector_store_id, edit))


@routes.delete("/vector_stores/{vector_store_id}")
async def delete_vector_store(ctx: Context, vector_store_id: str) -> Deleted:
    """deleteVectorStore: the store and what was read from its files; the files stay."""
    await vector_stores.remove_store(ctx, vector_store_id)
    return Deleted(id=vector_store_id, object="vector_store.deleted")


@routes.post("/vector_stores/{vector_store_id}/search", reads=True)
async def search_vector_store(ctx: Context, vector_store_id: str, body: SearchBody) -> SearchResults:
    """searchVectorStore. Of several queries each result counts with its best score. Queries are taken as they are."""
    await ctx.store.get(VectorStore, vector_store_id)
    await vector_stores.check_alive(ctx, [vector_store_id])
    queries = [body.query] if isinstance(body.query, str) else body.query
    options = SearchOptions(
        limit=body.max_num_results or 10,
        score_threshold=(body.ranking_options or SearchRanking()).score_threshold,
        filters=body.filters,
    )
    found: list[SearchResult] = []
    for query in queries:
        found += await search(ctx, [vector_store_id], query, options)
    best: dict[tuple[str, str], SearchResult] = {}
    for result in sorted(found, key=lambda result: -result.score):
        best.setdefault((result.file_id, result.content[0].text), result)
    return SearchResults(search_query=queries, data=list(best.values())[: options.limit])
