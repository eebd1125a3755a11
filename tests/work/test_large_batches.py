"""A batch of as many files as there may be is put into its store in one write."""

import asyncio
from pathlib import Path

from everloom.objects.files import File
from everloom.objects.vector_stores import MAX_BATCH, NewVectorStoreFile
from everloom.store.base import Add
from everloom.work.vector_stores import file_batches
from everloom.work.vector_stores import stores as vector_stores
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import a_server


def test_two_thousand_files_go_in_together(tmp_path: Path) -> None:
    async def main(upstream: ScriptedUpstream) -> None:
        async with a_server(tmp_path, upstream) as ctx:
            ids = [f"file-{number}" for number in range(MAX_BATCH)]
            files = [File(id=id, created_at=1, bytes=1, filename="a.txt", purpose="assistants") for id in ids]
            await ctx.store.write(*map(Add, files))
            store = await vector_stores.create_store(ctx)
            given = [NewVectorStoreFile(file_id=id, attributes={"n": id}) for id in ids]
            batch = await file_batches.create_batch(ctx, store.id, given)
            assert (batch.file_counts.in_progress, batch.file_counts.total) == (MAX_BATCH, MAX_BATCH)
            shown = await file_batches.files_of(ctx, batch)
            assert [(file.id, file.attributes) for file in shown] == [(id, {"n": id}) for id in ids]

    with ScriptedUpstream() as upstream:
        asyncio.run(main(upstream))
