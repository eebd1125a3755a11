"""Pages of a batch's files are those of the whole list, however few of them fit, and however they are walked."""

import random
from itertools import product
from pathlib import Path
from typing import get_args

from everloom.api.http.paging import paginate
from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.base import PageQuery
from everloom.objects.vector_stores import FileBatch, FileBatchMember, FileStatus, VectorStoreFile
from everloom.store.base import Add, Remove
from everloom.work.vector_stores.file_batches import page_of_files
from tests.blobs import run

STATUSES: tuple[FileStatus, ...] = get_args(FileStatus)


def test_pages_are_those_of_the_whole_list(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        chance = random.Random(3)
        batch = FileBatch(id=new_id("vsfb_"), created_at=now(), vector_store_id="vs_1")
        files = [
            VectorStoreFile(
                id=new_id("file-"),
                created_at=1,
                vector_store_id="vs_1",
                status=chance.choices(STATUSES, (9, 3, 1, 0))[0],
            )
            for _ in range(330)
        ]
        members = [
            FileBatchMember(
                id=f"{batch.id}.{file.id}", created_at=1, batch_id=batch.id, file_id=file.id, vector_store_id="vs_1"
            )
            for file in files
        ]
        await ctx.store.write(Add(batch), *map(Add, members), *map(Add, files))
        gone = files.pop(200)
        await ctx.store.write(Remove(FileBatchMember, members[200].id), Remove(VectorStoreFile, gone.key))
        for status in (None, *STATUSES):
            fitting = [file for file in files if status in (None, file.status)]
            places = [
                None,
                gone.id,
                "file-nowhere",
                *(file.id for file in chance.sample(fitting, min(4, len(fitting)))),
            ]
            for order in ("asc", "desc"):
                for after, before in product(places, places):
                    if (after is not None and after == before) or (before and after in places[1:3]):
                        continue  # What such cursors mean is nobody's concern.
                    page = PageQuery(limit=chance.choice((1, 20, 100)), order=order, after=after, before=before)
                    shown = await page_of_files(ctx, batch, page, status)
                    whole = paginate(fitting, VectorStoreFile, page)
                    assert shown.encode() == whole.encode(), (status, page)

    run(scenario, tmp_path)
