"""The Vector store files tag: files in a store, and batches of them."""

from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET

from everloom.api.http.routes import Routes
from everloom.blobs.base import DamagedBlob
from everloom.context import Context
from everloom.objects.base import Deleted, Page, PageQuery
from everloom.objects.files import File
from everloom.objects.vector_stores import (
    AttributesChange,
    FileBatch,
    FileContent,
    NewFileBatch,
    NewVectorStoreFile,
    TextBlock,
    VectorStore,
    VectorStoreFile,
    file_key,
)
from everloom.requests.validation import invalid, missing
from everloom.store.base import Change, change_one
from everloom.work.files.blobs import read_file
from everloom.work.vector_stores import file_batches
from everloom.work.vector_stores import stores as vector_stores
from everloom.work.vector_stores.extraction import Invalid, Unsupported, extract

routes = Routes(permission="vector_stores")

Q = TypeVar("Q", bound=PageQuery)


class VectorStoreFilesQuery(PageQuery, frozen=True, kw_only=True):
    """``filter`` keeps the files of one status."""

    filter: Literal["in_progress", "completed", "failed", "cancelled"] | None = None


@routes.post("/vector_stores/{vector_store_id}/files")
async def create_vector_store_file(ctx: Context, vector_store_id: str, body: NewVectorStoreFile) -> VectorStoreFile:
    """createVectorStoreFile. A file that is in the store already is read again."""
    (file,) = await vector_stores.add_files(ctx, vector_store_id, [body])
    return file


@routes.get("/vector_stores/{vector_store_id}/files")
async def list_vector_store_files(
    ctx: Context, vector_store_id: str, page: VectorStoreFilesQuery
) -> Page[VectorStoreFile]:
    """listVectorStoreFiles."""
    await ctx.store.get(VectorStore, vector_store_id)
    page = await _by_keys(ctx, vector_store_id, page)
    if page.filter is not None:
        return await ctx.store.find(VectorStoreFile, page, vector_store_id=vector_store_id, status=page.filter)
    return await ctx.store.find(VectorStoreFile, page, vector_store_id=vector_store_id)


async def _by_keys(ctx: Context, store_id: str, page: Q) -> Q:
    """The page with the keys of its cursors, which are ids of files.

    A cursor whose file has been taken out since (by a client that deletes as it lists) counts as none.
    """
    cursors = {name: file_key(store_id, id) for name in ("after", "before") if (id := getattr(page, name)) is not None}
    if not cursors:
        return page
    known = {row.key for row in await ctx.store.all(VectorStoreFile, id=list(cursors.values()))}
    return msgspec.structs.replace(page, **{name: key if key in known else None for name, key in cursors.items()})


@routes.get("/vector_stores/{vector_store_id}/files/{file_id}")
async def get_vector_store_file(ctx: Context, vector_store_id: str, file_id: str) -> VectorStoreFile:
    """getVectorStoreFile."""
    await ctx.store.get(VectorStore, vector_store_id)
    return await ctx.store.get(VectorStoreFile, file_key(vector_store_id, file_id))


@routes.post("/vector_stores/{vector_store_id}/files/{file_id}")
async def update_vector_store_file_attributes(
    ctx: Context, vector_store_id: str, file_id: str, body: AttributesChange
) -> VectorStoreFile:
    """updateVectorStoreFileAttributes: the new ones take the place of all the old ones."""

    def edit(file: VectorStoreFile) -> None:
        file.attributes = body.attributes or {}

    await ctx.store.get(VectorStore, vector_store_id)
    return await change_one(ctx.store, Change(VectorStoreFile, file_key(vector_store_id, file_id), edit))


@routes.get("/vector_stores/{vector_store_id}/files/{file_id}/content")
async def retrieve_vector_store_file_content(ctx: Context, vector_store_id: str, file_id: str) -> FileContent:
    """retrieveVectorStoreFileContent: the text that is read from the file. Errors: 400 for one without."""
    await ctx.store.get(VectorStore, vector_store_id)
    await ctx.store.get(VectorStoreFile, file_key(vector_store_id, file_id))
    file = await ctx.store.get(File, file_id)
    try:
        text = await extract(read_file(ctx, file), file.filename)
    except (Invalid, Unsupported, DamagedBlob) as error:
        raise invalid("file_id", str(error), "invalid_file") from error
    return FileContent(data=[TextBlock(text=text)])


@routes.delete("/vector_stores/{vector_store_id}/files/{file_id}")
async def delete_vector_store_file(ctx: Context, vector_store_id: str, file_id: str) -> Deleted:
    """deleteVectorStoreFile: it is in the store no more; the file itself stays."""
    await ctx.store.get(VectorStore, vector_store_id)
    await vector_stores.remove_file(ctx, vector_store_id, file_id)
    return Deleted(id=file_id, object="vector_store.file.deleted")


# --- batches ---------------------------------------------------------------------------------------------------------


@routes.post("/vector_stores/{vector_store_id}/file_batches")
async def create_vector_store_file_batch(ctx: Context, vector_store_id: str, body: NewFileBatch) -> FileBatch:
    """createVectorStoreFileBatch."""
    await ctx.store.get(VectorStore, vector_store_id)
    return await file_batches.create_batch(ctx, vector_store_id, _files_of(body))


def _files_of(body: NewFileBatch) -> list[NewVectorStoreFile]:
    if body.files is not UNSET:
        if body.file_ids is not UNSET:
            raise invalid("files", "cannot be given together with 'file_ids'.", "invalid_value")
        return body.files
    if body.file_ids is UNSET:
        raise missing("file_ids")
    return [
        NewVectorStoreFile(file_id=id, chunking_strategy=body.chunking_strategy, attributes=body.attributes)
        for id in dict.fromkeys(body.file_ids)
    ]


@routes.get("/vector_stores/{vector_store_id}/file_batches/{batch_id}")
async def get_vector_store_file_batch(ctx: Context, vector_store_id: str, batch_id: str) -> FileBatch:
    """getVectorStoreFileBatch."""
    await ctx.store.get(VectorStore, vector_store_id)
    return await file_batches.get_batch(ctx, vector_store_id, batch_id)


@routes.post("/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel")
async def cancel_vector_store_file_batch(ctx: Context, vector_store_id: str, batch_id: str) -> FileBatch:
    """cancelVectorStoreFileBatch. One whose files have all been read stays as it is."""
    await ctx.store.get(VectorStore, vector_store_id)
    return await file_batches.cancel_batch(ctx, vector_store_id, batch_id)


@routes.get("/vector_stores/{vector_store_id}/file_batches/{batch_id}/files")
async def list_files_in_vector_store_batch(
    ctx: Context, vector_store_id: str, batch_id: str, page: VectorStoreFilesQuery
) -> Page[VectorStoreFile]:
    """listFilesInVectorStoreBatch."""
    await ctx.store.get(VectorStore, vector_store_id)
    batch = await ctx.store.get(FileBatch, batch_id, vector_store_id=vector_store_id)
    return await file_batches.page_of_files(ctx, batch, page, page.filter)
