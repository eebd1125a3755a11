"""The bytes of a file that comes with its id: another import may be at the same file, or was killed while it was.

A blob has the name of its file in all projects, and is kept before the file's row. So whoever writes it holds its
``BlobDraft``, made in a write that asks that the file does not stand, and says every few seconds that it is alive. A
draft of which nothing was heard for a while is taken over, at once where its process is seen to have ended. Nobody
takes a blob away whose draft it does not hold.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.process_identity import has_ended, this_process
from everloom.objects.files import File, FileDeadline, FileDigest
from everloom.objects.uploads import BlobDraft
from everloom.store.base import Absent, Add, Change, Conflict, Missing, Operation, Remove, Store
from everloom.work.files.blobs import discard
from everloom.work.transfer.documents import NoRecord

TOUCH_SECONDS = 4.0
DEAD_SECONDS = 20.0
"""After so long without a word another import's draft is taken over."""

_LOOK_SECONDS = 0.5
_BLOCK = 1024 * 1024


class Stands(Exception):
    """The file stands already."""


class Content:
    """The bytes of one file on their way: ``await Content(…).keep()``."""

    def __init__(self, ctx: Context, others: Sequence[Store], file: File, rank: int, path: Path) -> None:
        self._ctx = ctx
        self._others = others
        self._file = file
        self._rank = rank
        self._path = path
        self._touched = 0
        self._digest = hashlib.sha256()

    async def keep(self) -> None:
        """Keep file and bytes. Errors: ``Stands``; ``NoRecord`` where they cannot be had; ``OSError``."""
        await self._draft()
        if await self._is_elsewhere():
            await self._ctx.store.write(Remove(BlobDraft, self._file.id))
            raise NoRecord("its id is that of a file of another project")
        done = asyncio.Event()
        touching = asyncio.create_task(self._touch(done))
        try:
            size = await self._ctx.ports.blobs.put(self._file.id, self._blocks())
        except OSError:
            await discard(self._ctx, self._file.id)
            raise
        finally:
            done.set()
            with suppress(Missing, _Lost):
                await touching
        if size != self._file.bytes:
            await discard(self._ctx, self._file.id)
            raise NoRecord(f"its content has {size} bytes, and it says {self._file.bytes}")
        try:
            await self._ctx.store.write(*self._keeping())
        except (Missing, _Lost, Conflict) as error:
            raise Stands from error  # Somebody thought that this process was dead.

    def _keeping(self) -> list[Operation]:
        file = self._file
        digest = FileDigest(id=file.id, created_at=now(), sha256=self._digest.hexdigest())
        kept: list[Operation] = [Change(BlobDraft, file.id, self._hold), Remove(BlobDraft, file.id)]
        kept += [Add(file, rank=self._rank), Add(digest)]
        if isinstance(file.expires_at, int):
            deadline = FileDeadline(id=file.id, created_at=file.created_at, expires_at=file.expires_at)
            kept.append(Add(deadline, rank=deadline.expires_at))
        return kept

    async def _draft(self) -> None:
        """Hold the draft. Errors: ``Stands``, ``NoRecord``."""
        waited_since, seen = time.monotonic(), -1
        while True:
            self._touched = now()
            draft = BlobDraft(
                id=self._file.id, created_at=self._touched, touched_at=self._touched, writer=this_process()
            )
            try:
                await self._ctx.store.write(Absent(File, lambda file: Stands(), id=draft.id), Add(draft))
                return
            except Conflict:
                pass
            standing = await self._ctx.store.all(BlobDraft, id=[draft.id])
            if standing and standing[0].touched_at != seen:
                waited_since, seen = time.monotonic(), standing[0].touched_at
            elif standing and (_is_nobodys(standing[0]) or time.monotonic() - waited_since >= DEAD_SECONDS):
                if standing[0].pending_delete:
                    raise NoRecord("a file of this id is just being deleted")
                if await self._take_over(seen):
                    return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _take_over(self, seen: int) -> bool:
        def take(draft: BlobDraft) -> None:
            if draft.touched_at != seen or draft.pending_delete:
                raise _Lost
            draft.touched_at, draft.writer = taken, this_process()

        taken = max(now(), seen + 1)
        try:
            await self._ctx.store.write(Change(BlobDraft, self._file.id, take))
        except (Missing, _Lost):
            return False
        self._touched = taken
        return True

    async def _touch(self, done: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), TOUCH_SECONDS)
            if done.is_set():
                return
            touched = max(now(), self._touched + 1)

            def touch(draft: BlobDraft, touched: int = touched) -> None:
                self._hold(draft)
                draft.touched_at = touched

            await self._ctx.store.write(Change(BlobDraft, self._file.id, touch))
            self._touched = touched

    def _hold(self, draft: BlobDraft) -> None:
        if draft.touched_at != self._touched or draft.pending_delete:
            raise _Lost

    async def _is_elsewhere(self) -> bool:
        for store in self._others:
            files = await store.all(File, id=[self._file.id])
            drafts = await store.all(BlobDraft, id=[self._file.id])
            if files or drafts:
                return True
        return False

    async def _blocks(self) -> AsyncIterator[bytes]:
        with self._path.open("rb") as file:
            while block := await asyncio.to_thread(file.read, _BLOCK):
                self._digest.update(block)
                yield block


def _is_nobodys(draft: BlobDraft) -> bool:
    return not draft.pending_delete and has_ended(draft.writer)


class _Lost(Exception):
    """The draft is held by somebody else."""


def digest_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex. Blocking. Errors: ``OSError``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
