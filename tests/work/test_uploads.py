"""How uploads end: in time, too late, in the middle of something, and after a crash."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.kit.ids import new_id
from everloom.objects.files import File
from everloom.objects.uploads import MAX_PARTS, NewUpload, PartBlob, Upload, UploadCompletion, UploadTally
from everloom.store.base import Change
from everloom.work.files import uploads
from everloom.work.files.blobs import NewBlob
from everloom.work.files.uploads import COMPOSING_SECONDS
from tests.blobs import blocks, drafts, names, run


async def an_upload(ctx: Context, size: int, *parts: bytes) -> tuple[Upload, list[str]]:
    new = NewUpload(filename="a.txt", purpose="assistants", bytes=size, mime_type="text/plain")
    upload = await uploads.begin(ctx, new, "a.txt")
    ids = []
    for data in parts:
        async with NewBlob(ctx, new_id("part_")) as blob:
            await blob.put(blocks(data))
            part = PartBlob(id=blob.id, created_at=now(), upload_id=upload.id, bytes=len(data))
            await blob.keep(*uploads.taking(part))
        ids.append(part.id)
    return upload, ids


async def let_pass(ctx: Context, upload: Upload, seconds: int) -> None:
    def edit(row: Any) -> None:
        row.expires_at -= seconds

    await ctx.store.write(Change(Upload, upload.id, edit), Change(UploadTally, upload.id, edit))


def test_an_upload_expires_and_its_parts_go(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        upload, ids = await an_upload(ctx, 5, b"hello")
        young, kept = await an_upload(ctx, 5, b"hello")
        assert upload.expires_at - upload.created_at == 3600
        await uploads.sweep(ctx.ports)
        assert names(folder) == {*ids, *kept}

        await let_pass(ctx, upload, 3600)
        for refused in (
            uploads.check_room(ctx, upload.id),
            uploads.cancel(ctx, upload.id),
            uploads.complete(ctx, upload.id, UploadCompletion(part_ids=ids)),
        ):
            with pytest.raises(BadRequest, match="upload with status 'expired'"):
                await refused
        await uploads.sweep(ctx.ports)
        assert (await ctx.store.get(Upload, upload.id)).status == "pending"

        await let_pass(ctx, upload, COMPOSING_SECONDS)
        await uploads.sweep(ctx.ports)
        assert (await ctx.store.get(Upload, upload.id)).status == "expired"
        assert (await ctx.store.get(Upload, young.id)).status == "pending"
        assert names(folder) == set(kept)
        assert [part.id for part in await ctx.store.all(PartBlob)] == kept
        (left,) = await ctx.ports.database.across(UploadTally, open=True)
        assert left[1].id == young.id

    run(scenario, tmp_path)


def test_a_completion_asked_for_in_time_may_end_after_it(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        upload, ids = await an_upload(ctx, 5, b"hello")
        real = ctx.ports.blobs

        class Slow:
            """The blobs, and an hour that goes by while they are read."""

            put, remove = real.put, real.remove

            async def read(self, name: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
                await let_pass(ctx, upload, 3600)
                await uploads.sweep(ctx.ports)
                async for block in real.read(name, offset=offset, length=length):
                    yield block

        slowly = Context.of(msgspec.structs.replace(ctx.ports, blobs=Slow()), ctx.project)
        done = await uploads.complete(slowly, upload.id, UploadCompletion(part_ids=ids))
        assert done.status == "completed"
        assert done.file is not None
        assert names(folder) == {done.file.id}

    run(scenario, tmp_path)


def test_cancelled_while_it_is_put_together(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        upload, ids = await an_upload(ctx, 10, b"hello", b"world")
        real = ctx.ports.blobs

        class Cancelling:
            put, remove = real.put, real.remove

            async def read(self, name: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
                if name == ids[1]:
                    await uploads.cancel(ctx, upload.id)
                async for block in real.read(name, offset=offset, length=length):
                    yield block

        midway = Context.of(msgspec.structs.replace(ctx.ports, blobs=Cancelling()), ctx.project)
        with pytest.raises(BadRequest, match="Cannot complete upload with status 'cancelled'"):
            await uploads.complete(midway, upload.id, UploadCompletion(part_ids=ids))
        assert await ctx.store.all(File) == []
        assert (await drafts(ctx), names(folder)) == ([], set())

    run(scenario, tmp_path)


def test_parts_left_by_a_crash_after_the_end_are_swept(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        upload, _ = await an_upload(ctx, 5, b"hello")

        def end(row: Any) -> None:
            row.status = "cancelled"

        def note(tally: UploadTally) -> None:
            tally.ended = True

        await ctx.store.write(Change(Upload, upload.id, end), Change(UploadTally, upload.id, note))
        await uploads.sweep(ctx.ports)
        assert (await ctx.store.all(PartBlob), names(folder)) == ([], set())
        assert await ctx.ports.database.across(UploadTally, open=True) == []

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [("parts", MAX_PARTS, "Too many parts"), ("bytes", 8 * 1024**3, "Too many bytes")],
)
def test_an_upload_is_full_some_time(tmp_path: Path, field: str, value: int, text: str) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        upload, _ = await an_upload(ctx, 5)

        def fill(tally: UploadTally) -> None:
            setattr(tally, field, value)

        await ctx.store.write(Change(UploadTally, upload.id, fill))
        part = PartBlob(id="part_a", created_at=now(), upload_id=upload.id, bytes=1)
        with pytest.raises(BadRequest, match=text):
            await ctx.store.write(*uploads.taking(part))
        assert await ctx.store.all(PartBlob) == []

    run(scenario, tmp_path)
