"""Blobs and their drafts: what is kept, what is taken away, and what is left alone."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everloom.blobs.base import DamagedBlob
from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, BadRequest, NotFound
from everloom.objects.files import File, FileDigest
from everloom.objects.uploads import BlobDraft
from everloom.store.base import Absent, Add, Change, Operation, Remove
from everloom.work.files import blobs
from everloom.work.files.blobs import PENDING_DELETE_SECONDS, STALE_SECONDS, TOUCH_SECONDS, NewBlob, discard, doom
from tests.blobs import blocks, drafts, names, run


def a_file(id: str, size: int = 5) -> File:
    return File(id=id, created_at=now(), bytes=size, filename="a.txt", purpose="assistants")


async def older(ctx: Context, id: str, seconds: int) -> None:
    def edit(draft: BlobDraft) -> None:
        draft.touched_at -= seconds

    await ctx.store.write(Change(BlobDraft, id, edit))


async def write(ctx: Context, id: str, *operations: Operation, failing: bool = False) -> None:
    """Write a blob and keep a file with it."""
    async with NewBlob(ctx, id) as blob:
        await blob.put(blocks(b"hello"))
        if failing:
            raise ZeroDivisionError
        await blob.keep(*operations, Add(a_file(id)))


def test_kept_with_its_object_it_is_no_draft_any_more(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        async with NewBlob(ctx, "file-a") as blob:
            assert await blob.put(blocks(b"hello")) == 5
            assert await drafts(ctx) == ["file-a"]
            add = Add(a_file("file-a"))
            kept = (await blob.keep(add))[add]
        assert kept == await ctx.store.get(File, "file-a")
        assert await drafts(ctx) == []
        assert names(folder) == {"file-a"}

    run(scenario, tmp_path)


def test_a_digest_comes_and_goes_with_its_blob(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        async with NewBlob(ctx, "file-a", digest=True) as blob:
            await blob.put(blocks(b"hel", b"lo"))
            await blob.keep(Add(a_file("file-a")))
        (digest,) = await ctx.store.all(FileDigest)
        assert (digest.id, digest.sha256) == ("file-a", hashlib.sha256(b"hello").hexdigest())
        await ctx.store.write(Remove(File, "file-a"), doom("file-a"))
        await discard(ctx, "file-a")
        assert await ctx.store.all(FileDigest) == []

    run(scenario, tmp_path)


@pytest.mark.parametrize("there", [b"hello", b"hell", b"", b"hello!", b"jello"])
@pytest.mark.parametrize("digest", [True, False])
def test_a_file_is_held_against_what_was_kept(tmp_path: Path, there: bytes, digest: bool) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        async with NewBlob(ctx, "file-a", digest=digest) as blob:
            await blob.put(blocks(b"hello"))
            await blob.keep(Add(file := a_file("file-a")))
        (folder / "file-a").write_bytes(there)
        read = b""
        try:
            async for block in blobs.read_file(ctx, file):
                read += block
            whole = True
        except DamagedBlob:
            whole = False
        # A file of earlier days has no digest: of such a one the size is known.
        assert whole is (there == b"hello" or (there == b"jello" and not digest))
        assert read == (there if len(there) <= 5 else b"")

    run(scenario, tmp_path)


def test_what_is_refused_or_forgotten_is_gone(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        await ctx.store.write(Add(a_file("file-stands")))
        refusal = Absent(File, lambda file: BadRequest("no"), purpose="assistants")
        with pytest.raises(BadRequest, match="no"):
            await write(ctx, "file-refused", refusal)
        with pytest.raises(ZeroDivisionError):
            await write(ctx, "file-failed", failing=True)
        async with NewBlob(ctx, "file-forgotten") as blob:
            await blob.put(blocks(b"x"))
        async with NewBlob(ctx, "file-untouched"):
            pass
        assert (await drafts(ctx), names(folder)) == ([], set())

    run(scenario, tmp_path)


def test_a_write_of_unknown_outcome_keeps_its_bytes(tmp_path: Path) -> None:
    """A task that is cancelled while it writes may have written: to take the blob away would leave a file without."""

    async def scenario(ctx: Context, folder: Path) -> None:
        for after in range(60):
            task = asyncio.create_task(write(ctx, "file-a"))
            for _ in range(after):
                await asyncio.sleep(0.0005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.01)
            stands = await ctx.store.all(File, id=["file-a"])
            if stands:
                assert names(folder) == {"file-a"}
                await ctx.store.write(Remove(File, "file-a"))
            for id in await drafts(ctx):
                await discard(ctx, id)
            await ctx.ports.blobs.remove("file-a")

    run(scenario, tmp_path)


def test_the_sweep_takes_what_is_stale_and_nothing_else(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        other = Context.of(ctx.ports, "proj_b")
        for each, id in ((ctx, "file-stale"), (ctx, "file-young"), (other, "file-others"), (ctx, "file-killed#1")):
            await each.store.write(Add(BlobDraft(id=id.partition("#")[0], created_at=now(), touched_at=now())))
            (folder / id).write_bytes(b"x")
        (folder / "file-nobodys").write_bytes(b"x")
        (folder / "notes.txt").write_bytes(b"x")
        for each, id in ((ctx, "file-stale"), (other, "file-others"), (ctx, "file-killed")):
            await older(each, id, STALE_SECONDS)
        await older(ctx, "file-young", STALE_SECONDS - 5)
        await blobs.sweep(ctx.ports)
        # What no row of this database has ever spoken of is none of its business.
        assert names(folder) == {"file-young", "file-nobodys", "notes.txt"}
        assert (await drafts(ctx), await drafts(other)) == (["file-young"], [])

    run(scenario, tmp_path)


def test_what_is_doomed_goes_at_once_or_a_little_later(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        for id in ("file-a", "file-b"):
            await write(ctx, id)
            await ctx.store.write(Remove(File, id), doom(id))
        await discard(ctx, "file-a")
        await blobs.sweep(ctx.ports)
        assert names(folder) == {"file-b"}
        await older(ctx, "file-b", PENDING_DELETE_SECONDS)
        await blobs.sweep(ctx.ports)
        assert (await drafts(ctx), names(folder)) == ([], set())

    run(scenario, tmp_path)


def test_a_writer_that_was_given_up_cannot_keep_its_blob(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        async def given_up(id: str, *, swept: bool) -> None:
            async with NewBlob(ctx, id) as blob:
                await blob.put(blocks(b"x"))
                await older(ctx, id, STALE_SECONDS)
                if swept:
                    await blobs.sweep(ctx.ports)
                else:
                    await ctx.store.write(Change(BlobDraft, id, _doom))
                await blob.keep(Add(a_file(id)))

        with pytest.raises(NotFound):
            await given_up("file-gone", swept=True)
        with pytest.raises(ApiError, match="Timed out"):
            await given_up("file-doomed", swept=False)
        assert await ctx.store.all(File) == []
        assert (await drafts(ctx), names(folder)) == ([], set())

    run(scenario, tmp_path)


def _doom(draft: BlobDraft) -> None:
    draft.pending_delete = True


def test_a_slow_writer_says_that_it_is_alive(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        async def slow() -> AsyncIterator[bytes]:
            yield b"a"
            # As after an hour in which it had nothing to say: the clock itself cannot be hurried.
            await older(ctx, "file-slow", STALE_SECONDS)
            blob._touched -= TOUCH_SECONDS
            yield b"b"
            await blobs.sweep(ctx.ports)
            yield b"c"

        async with NewBlob(ctx, "file-slow") as blob:
            assert await blob.put(slow()) == 3
            await blob.keep(Add(a_file(blob.id, 3)))
        assert (folder / "file-slow").read_bytes() == b"abc"

    run(scenario, tmp_path)
