"""Blobs and the objects they belong to, kept and taken away together, whatever is killed in between.

The bytes of a file cannot be written in one transaction with its row, so a ``BlobDraft`` is kept before the
first byte and removed with the write that keeps the row. What stands as a draft and has not been touched for an
hour is nobody's. Blobs are never looked for in the blob store itself: bytes of another database that shares it,
or of a newer one than the backup that was restored, are none of ours to judge.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from types import TracebackType

from everloom.blobs.base import DamagedBlob
from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, NotFound, Unavailable
from everloom.kit.log import outage
from everloom.objects.files import File, FileDigest
from everloom.objects.uploads import BlobDraft
from everloom.store.base import Add, Change, Conflict, Operation, Remove, Written

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
STALE_SECONDS = 3600
"""After so long without a word from its writer a draft is given up."""

TOUCH_SECONDS = 600
"""How often a writer says that it is alive."""

PENDING_DELETE_SECONDS = 60
"""Whoever dooms a blob takes it away at once; after so long somebody else does."""

_DRAFTS = "blob draft"
_LARGE_BLOCK = 128 * 1024


class NewBlob:
    """A blob on its way to belong to an object: ``async with NewBlob(ctx, id) as blob: …``.

    ``await blob.put(blocks)``, then ``await blob.keep(Add(file))``. Left without having been kept, it is gone.
    With ``digest`` it is kept what the bytes were (``FileDigest``).
    """

    def __init__(self, ctx: Context, id: str, *, digest: bool = False) -> None:
        self.id = id
        self._ctx = ctx
        self._digest = hashlib.sha256() if digest else None
        self._drafted = self._keeping = self._kept = False
        self._touched = 0

    async def put(self, blocks: AsyncIterator[bytes]) -> int:
        """Write the bytes as they come; returns how many. What ``blocks`` raises comes through."""
        self._touched = made = now()
        await self._ctx.store.write(Add(BlobDraft(id=self.id, created_at=made, touched_at=made)))
        self._drafted = True
        return await self._ctx.ports.blobs.put(self.id, self._touching(blocks))

    async def keep(self, *operations: Operation) -> Written:
        """Keep what the blob belongs to, in one write with the end of the draft."""
        self._keeping = True
        written = await self._ctx.store.write(*operations, *self.kept())
        self._kept = True
        return written

    def kept(self) -> Sequence[Operation]:
        """The end of the draft, for a write of the caller's own."""
        self._keeping = True
        operations: list[Operation] = [
            Change(BlobDraft, self.id, _refuse_pending_delete),
            Remove(BlobDraft, self.id),
        ]
        if self._digest is not None:
            operations.append(Add(FileDigest(id=self.id, created_at=now(), sha256=self._digest.hexdigest())))
        return operations

    async def __aenter__(self) -> "NewBlob":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept or not self._drafted:
            return
        if self._keeping and not isinstance(error, ApiError | Conflict):
            return  # Nobody knows whether the write came about: if it did not, the sweep will find the draft.
        try:
            await discard(self._ctx, self.id)
        except Unavailable as away:
            outage(f"discarding the blob {self.id}", away)
        except Exception:
            log.exception("discarding the blob %s failed; it will be tried again", self.id)

    async def _touching(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for block in blocks:
            if now() - self._touched >= TOUCH_SECONDS:
                self._touched = now()
                await self._ctx.store.write(Change(BlobDraft, self.id, _touch))
            if self._digest is not None:
                await _feed(self._digest, block)
            yield block


async def _feed(digest: "hashlib._Hash", block: bytes) -> None:
    """Add a block to a digest, a large one beside the loop: a megabyte takes most of a millisecond."""
    if len(block) > _LARGE_BLOCK:
        await asyncio.to_thread(digest.update, block)
    else:
        digest.update(block)


async def read_file(ctx: Context, file: File) -> AsyncIterator[bytes]:
    """The bytes of a file, held against what was kept of them; whoever takes them waits for the end to believe them.

    Errors: ``FileNotFoundError``; ``DamagedBlob`` once they turn out to be others, behind the last block at the latest.
    """
    digest, size = hashlib.sha256(), 0
    async for block in ctx.ports.blobs.read(file.id):
        size += len(block)
        if size > file.bytes:
            break
        await _feed(digest, block)
        yield block
    if size != file.bytes:
        more = "more" if size > file.bytes else str(size)
        raise DamagedBlob(f"The content of the file is damaged: {file.bytes} bytes were kept, and {more} are there.")
    kept = await ctx.store.all(FileDigest, id=[file.id])
    if kept and kept[0].sha256 != digest.hexdigest():
        raise DamagedBlob("The content of the file is damaged: its bytes are not those that were kept.")


def doom(id: str) -> Operation:
    """Say that a blob is to go, in one write with the removal of its object; ``discard`` it after that."""
    return Add(BlobDraft(id=id, created_at=now(), touched_at=now(), pending_delete=True))


async def discard(ctx: Context, id: str) -> None:
    """Take away a blob, its draft and its digest."""
    await ctx.ports.blobs.remove(id)
    try:
        await ctx.store.write(Remove(BlobDraft, id), Remove(FileDigest, [id]))
    except NotFound:
        return  # Somebody else was faster.


async def sweep(ports: Ports) -> None:
    """Take away the blobs that nobody is writing any more and nobody has kept, of all projects."""
    drafts = await ports.database.across(BlobDraft)
    ports.deadlines.forget_but(_DRAFTS, {(project, draft.id) for project, draft in drafts})
    unsettled = ports.deadlines.unsettled()
    for project, draft in drafts:
        patience = PENDING_DELETE_SECONDS if draft.pending_delete else STALE_SECONDS
        due = draft.touched_at + patience
        if unsettled or ports.deadlines.left(_DRAFTS, (project, draft.id), due, patience) > 0:
            continue
        ctx = Context.of(ports, project)
        try:
            # From here on its writer cannot keep it, however alive it turns out to be.
            await ctx.store.write(Change(BlobDraft, draft.id, _doom))
            await discard(ctx, draft.id)
        except (NotFound, _Alive):
            continue
        except Unavailable:
            raise
        except Exception:
            log.exception("taking away the blob %s failed; it will be tried again", draft.id)
        await asyncio.sleep(0)


class _Alive(Exception):
    """The writer of a draft has been heard of meanwhile."""


def _doom(draft: BlobDraft) -> None:
    if not draft.pending_delete and now() - draft.touched_at < STALE_SECONDS:
        raise _Alive
    draft.pending_delete = True


def _touch(draft: BlobDraft) -> None:
    _refuse_pending_delete(draft)
    draft.touched_at = now()


def _refuse_pending_delete(draft: BlobDraft) -> None:
    if draft.pending_delete:
        raise ApiError(408, "Timed out waiting for the rest of the request.", code="request_timeout")
