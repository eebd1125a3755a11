"""Files that are to go at a time go then, whatever came between, and take what hangs on them with them."""

import asyncio
from pathlib import Path

import pytest

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import NotFound, Unavailable
from everloom.objects.assistants import Assistant
from everloom.objects.files import File, FileDeadline, FileExpiresAfter
from everloom.objects.tools import CodeInterpreterResources, ToolResources
from everloom.store.base import Add
from everloom.work.files.blobs import NewBlob
from everloom.work.files.deadlines import adding
from everloom.work.threads import files
from tests.blobs import blocks, drafts, names, run

HOUR = FileExpiresAfter(anchor="created_at", seconds=3600)


async def keep(ctx: Context, id: str, age: int, after: FileExpiresAfter | None = HOUR) -> None:
    """A file that was made so many seconds ago."""
    async with NewBlob(ctx, id) as blob:
        size = await blob.put(blocks(b"hello"))
        file = File(id=id, created_at=now() - age, bytes=size, filename="a.txt", purpose="user_data")
        await blob.keep(*adding(file, after))


async def standing(ctx: Context) -> list[str]:
    return sorted(file.id for file in await ctx.store.all(File))


def test_a_file_goes_at_its_time(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        other = Context.of(ctx.ports, "proj_b")
        await keep(ctx, "file-later", 0)
        await keep(ctx, "file-now", 3600)
        await keep(ctx, "file-ever", 10_000_000, None)
        await keep(other, "file-theirs", 4000)
        resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=["file-now", "file-later"]))
        await ctx.store.write(Add(Assistant(id="asst_1", created_at=0, model="m", tool_resources=resources)))
        await files.sweep(ctx.ports)
        assert (await standing(ctx), await standing(other)) == (["file-ever", "file-later"], [])
        assert (names(folder), await drafts(ctx)) == ({"file-ever", "file-later"}, [])
        assistant = await ctx.store.get(Assistant, "asst_1")
        assert assistant.tool_resources.code_interpreter == CodeInterpreterResources(file_ids=["file-later"])
        left = [(project, deadline.id) for project, deadline in await ctx.ports.database.across(FileDeadline)]
        assert left == [("proj_a", "file-later")]

    run(scenario, tmp_path)


def test_the_next_are_looked_at_first_however_many_there_are(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        month = FileExpiresAfter(anchor="created_at", seconds=2_592_000)
        made = now()
        many = (File(id=f"file-{n}", created_at=made, bytes=0, filename="a", purpose="evals") for n in range(1100))
        await ctx.store.write(*(operation for file in many for operation in adding(file, month)))
        await keep(ctx, "file-now", 3600)
        await files.sweep(ctx.ports)
        assert "file-now" not in await standing(ctx)
        assert len(await standing(ctx)) == 1100

    run(scenario, tmp_path)


def test_who_deletes_a_file_before_leaves_nothing_to_fail(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        await keep(ctx, "file-gone", 4000)
        await keep(ctx, "file-two", 4000)
        await files.remove_file(ctx, "file-gone")
        with pytest.raises(NotFound):
            await files.remove_file(ctx, "file-gone")
        await asyncio.gather(files.sweep(ctx.ports), files.sweep(ctx.ports))
        assert await ctx.ports.database.across(FileDeadline) == []
        assert await standing(ctx) == []

    run(scenario, tmp_path)


def test_an_outage_in_the_middle_is_gone_on_from(tmp_path: Path) -> None:
    async def scenario(ctx: Context, folder: Path) -> None:
        await keep(ctx, "file-1", 5000)
        await keep(ctx, "file-2", 4000)
        (folder / "file-1").unlink()
        (folder / "file-1").mkdir()  # which no store of files can take away as one
        with pytest.raises(Unavailable):
            await files.sweep(ctx.ports)
        assert await standing(ctx) == ["file-2"]
        await files.sweep(ctx.ports)
        assert await standing(ctx) == []
        assert await ctx.ports.database.across(FileDeadline) == []
        assert await drafts(ctx) == ["file-1"]  # for the sweep of blobs

    run(scenario, tmp_path)
