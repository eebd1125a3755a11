"""Retrieval over an assistant's own files: what v1 attached one by one is a vector store for file search."""

from collections.abc import Collection, Sequence

from msgspec import UNSET

from everloom.context import Context
from everloom.kit.errors import NotFound
from everloom.objects.assistants import Assistant
from everloom.objects.files import File
from everloom.objects.tools import FileSearchResources, FileSearchTool
from everloom.objects.vector_stores import NewVectorStoreFile, VectorStore, VectorStoreFile, file_key
from everloom.store.base import Change
from everloom.work.vector_stores.extraction import can_be_read
from everloom.work.vector_stores.stores import add_files, create_store, remove_file


async def mirror_store(ctx: Context, assistant: Assistant, before: Collection[str], after: Sequence[str]) -> None:
    """Have the assistant's vector store hold the files it has now, if it searches; made where it has none.

    Only what v1 attached is taken out of it again: v2 may have given the assistant a store with more in it. What cannot
    be searched, and hangs on the assistant from before it searched at all, is passed over.
    """
    if not searches(assistant):
        return
    files = await ctx.store.all(File, id=list(after)) if after else []
    wanted = [file_id for file_id in after if any(file.id == file_id and can_be_read(file.filename) for file in files)]
    resources = assistant.tool_resources.file_search
    ids = [] if resources is UNSET else resources.vector_store_ids
    if not ids or not await ctx.store.all(VectorStore, id=ids[:1]):
        if wanted:
            store = await create_store(ctx, file_ids=wanted)
            await _give(ctx, assistant, ids, store)
        return
    concerned = {file_key(ids[0], file_id): file_id for file_id in {*before, *after}}
    held = {row.id for row in await ctx.store.all(VectorStoreFile, id=list(concerned))} if concerned else set()
    for file_id in held - set(after):
        try:
            await remove_file(ctx, ids[0], file_id)
        except NotFound:
            continue
    if new := [NewVectorStoreFile(file_id=file_id) for file_id in wanted if file_id not in held]:
        await add_files(ctx, ids[0], new)


def searches(assistant: Assistant) -> bool:
    """Whether it has the tool that searches files."""
    return any(isinstance(tool, FileSearchTool) for tool in assistant.tools)


async def _give(ctx: Context, assistant: Assistant, instead_of: Sequence[str], store: VectorStore) -> None:
    def edit(assistant: Assistant) -> None:
        resources = assistant.tool_resources.file_search
        if (resources is UNSET and not instead_of) or (resources and resources.vector_store_ids == instead_of):
            assistant.tool_resources.file_search = FileSearchResources(vector_store_ids=[store.id])

    await ctx.store.write(Change(Assistant, assistant.id, edit))
