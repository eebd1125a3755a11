"""Uploads: parts are gathered, put together into a file, and taken away again.

An upload ends in one write that says how, and the file, where there is one, appears in that same write. The
parts are taken away after it, by whoever ended the upload or, if that one died, by the sweep.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from everloom.context import Context, Ports
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest, Unavailable
from everloom.kit.ids import new_id
from everloom.kit.log import outage
from everloom.objects.files import File
from everloom.objects.uploads import (
    MAX_PARTS,
    MAX_UPLOAD_BYTES,
    NewUpload,
    PartBlob,
    Upload,
    UploadCompletion,
    UploadTally,
)
from everloom.store.base import Add, Change, Missing, Operation, Remove
from everloom.work.files.blobs import NewBlob
from everloom.work.files.deadlines import adding
from everloom.work.salvage import salvage

log = logging.getLogger(__name__)

LIFE_SECONDS = 3600
"""How long after its creation an upload takes parts and can be completed."""

COMPOSING_SECONDS = 900
"""Past its time an upload keeps its parts this long, for a completion that was asked for before."""

LOOK_SECONDS = 10.0
_REMOVALS_AT_ONCE = 16
_SHOWN = 128


async def begin(ctx: Context, new: NewUpload, filename: str) -> Upload:
    """Make an upload; ``filename`` is the request's, without folders."""
    made = now()
    upload = Upload(
        id=new_id("upload_"),
        created_at=made,
        bytes=new.bytes,
        filename=filename,
        purpose=new.purpose,
        expires_at=made + LIFE_SECONDS,
    )
    tally = UploadTally(id=upload.id, created_at=made, expires_at=upload.expires_at)
    tally.file_expires_after = new.expires_after
    await ctx.store.write(Add(upload), Add(tally))
    return upload


async def cancel(ctx: Context, upload_id: str) -> Upload:
    """End an upload without a file. Errors: 404; 400 for one that has ended."""

    def edit(upload: Upload) -> None:
        check_pending(upload, "cancel")
        upload.status = "cancelled"

    cancel = Change(Upload, upload_id, edit)
    written = await ctx.store.write(cancel, Change(UploadTally, upload_id, _end))
    await _free_now(ctx, upload_id)
    return written[cancel]


def check_pending(upload: Upload, verb: str) -> None:
    """Ask that an upload has not ended. Errors: 400."""
    status = "expired" if upload.status == "pending" and upload.expires_at <= now() else upload.status
    if status != "pending":
        raise BadRequest(f"Cannot {verb} upload with status '{status}'.")


# --- parts -----------------------------------------------------------------------------------------------------------


async def check_room(ctx: Context, upload_id: str) -> None:
    """Ask that an upload takes another part. Errors: 404; 400 for one that has ended or is full."""
    check_pending(await ctx.store.get(Upload, upload_id), "add parts to")
    _count(await ctx.store.get(UploadTally, upload_id), 0)


def taking(part: PartBlob) -> Sequence[Operation]:
    """What keeps a part that has been written. Errors as of ``check_room``."""
    return [
        Change(Upload, part.upload_id, lambda upload: check_pending(upload, "add parts to")),
        Change(UploadTally, part.upload_id, lambda tally: _count(tally, part.bytes)),
        Add(part),
    ]


def _count(tally: UploadTally, size: int) -> None:
    tally.parts += 1
    tally.bytes += size
    if tally.parts > MAX_PARTS:
        raise BadRequest(f"Too many parts. An upload can have at most {MAX_PARTS}.", param="data")
    if tally.bytes > MAX_UPLOAD_BYTES:
        raise BadRequest(f"Too many bytes. The parts of an upload can have at most {MAX_UPLOAD_BYTES}.", param="data")


# --- completion ------------------------------------------------------------------------------------------------------


async def complete(ctx: Context, upload_id: str, wanted: UploadCompletion) -> Upload:
    """Put the parts together into a file. The same request gets the same answer again, after a crash for one.

    Errors: 404; 400 for an upload that has ended, for parts that it does not have, for a number of bytes or a
    checksum that is not the one given.
    """
    # A request sent twice does not put it together twice.
    async with ctx.ports.completing.of((ctx.project, upload_id)):
        done = await _done(ctx, upload_id, wanted)
        if done is None:
            try:
                done = await _compose(ctx, upload_id, wanted)
            except BadRequest:
                # Another server may have been faster with the same request.
                done = await _done(ctx, upload_id, wanted)
                if done is None:
                    raise
    await _free_now(ctx, upload_id)
    return done


async def _done(ctx: Context, upload_id: str, wanted: UploadCompletion) -> Upload | None:
    """The upload, if it is what this very request has made of it."""
    upload = await ctx.store.get(Upload, upload_id)
    if upload.status != "completed":
        return None
    tally = await ctx.store.get(UploadTally, upload_id)
    return upload if tally.completed_by == wanted else None


async def _compose(ctx: Context, upload_id: str, wanted: UploadCompletion) -> Upload:
    upload = await ctx.store.get(Upload, upload_id)
    check_pending(upload, "complete")
    parts = await _chosen(ctx, upload, wanted.part_ids)
    expires_after = (await ctx.store.get(UploadTally, upload_id)).file_expires_after
    digest = hashlib.md5(usedforsecurity=False) if wanted.md5 is not None else None
    async with NewBlob(ctx, new_id("file-"), digest=True) as blob:
        try:
            await blob.put(_joined(ctx, parts, digest))
        except FileNotFoundError:
            check_pending(await ctx.store.get(Upload, upload_id), "complete")  # Cancelled meanwhile, most likely.
            raise
        if digest is not None and wanted.md5 is not None:
            _check_md5(digest.hexdigest(), wanted.md5)
        file = File(id=blob.id, created_at=now(), bytes=upload.bytes, filename=upload.filename, purpose=upload.purpose)
        keeping = adding(file, expires_after)

        def edit(upload: Upload) -> None:
            if upload.status != "pending":
                check_pending(upload, "complete")
            upload.status, upload.file = "completed", file

        def note(tally: UploadTally) -> None:
            tally.ended, tally.completed_by = True, wanted

        completing = Change(Upload, upload_id, edit)
        written = await blob.keep(completing, Change(UploadTally, upload_id, note), *keeping)
    return written[completing]


async def _chosen(ctx: Context, upload: Upload, part_ids: Sequence[str]) -> list[PartBlob]:
    """The parts by their ids, which must be the upload's, each named once, and as many bytes as were announced."""
    known = {part.id: part for part in await ctx.store.all(PartBlob, upload_id=upload.id)}
    chosen: dict[str, PartBlob] = {}
    for place, id in enumerate(part_ids):
        if id in chosen:
            raise _wrong_part(place, f"part '{id}' is named more than once.")
        if id not in known:
            raise _wrong_part(place, f"no part found with id '{id[:_SHOWN]}' in this upload.")
        chosen[id] = known[id]
    size = sum(part.bytes for part in chosen.values())
    if size != upload.bytes:
        raise BadRequest(
            f"The number of bytes uploaded ({size}) does not match the number of bytes that the upload was created "
            f"with ({upload.bytes}).",
            param="part_ids",
            code="invalid_value",
        )
    return list(chosen.values())


def _wrong_part(place: int, fault: str) -> BadRequest:
    param = f"part_ids[{place}]"
    return BadRequest(f"Invalid '{param}': {fault}", param=param, code="invalid_value")


async def _joined(ctx: Context, parts: Sequence[PartBlob], digest: Any) -> AsyncIterator[bytes]:
    """The bytes of the parts. ``digest`` gets them beside the loop: a megabyte takes it more than a millisecond."""
    for part in parts:
        size = 0
        async for block in ctx.ports.blobs.read(part.id):
            size += len(block)
            if digest is not None:
                await asyncio.to_thread(digest.update, block)
            yield block
        if size != part.bytes:
            raise RuntimeError(f"the blob of {part.id} has {size} bytes, and was kept with {part.bytes}")


def _check_md5(found: str, given: str) -> None:
    if found != given.lower():
        text = f"Invalid 'md5': the bytes uploaded have the checksum '{found}', but got '{given}' instead."
        raise BadRequest(text, param="md5", code="invalid_value")


# --- afterwards ------------------------------------------------------------------------------------------------------


def _end(tally: UploadTally) -> None:
    tally.ended = True


async def _free_now(ctx: Context, upload_id: str) -> None:
    """Take the parts away; whatever is in the way of that is none of the caller's business."""
    try:
        await free(ctx, upload_id)
    except Unavailable as away:
        outage(f"taking away the parts of {upload_id}", away)
    except Exception:
        log.exception("taking away the parts of %s failed; it will be tried again", upload_id)


async def free(ctx: Context, upload_id: str) -> None:
    """Take away the parts of an upload that has ended."""

    def close(tally: UploadTally) -> None:
        tally.open = False

    ids = [part.id for part in await ctx.store.all(PartBlob, upload_id=upload_id)]
    for start in range(0, len(ids), _REMOVALS_AT_ONCE):
        await asyncio.gather(*map(ctx.ports.blobs.remove, ids[start : start + _REMOVALS_AT_ONCE]))
    await ctx.store.write(Remove(PartBlob, upload_id=upload_id), Change(UploadTally, upload_id, close))


async def sweep(ports: Ports) -> None:
    """Let uploads expire whose time is over, and take away the parts of all that have ended, of all projects."""
    for project, tally in await ports.database.across(UploadTally, open=True):
        ctx = Context.of(ports, project)
        if not tally.ended and now() < tally.expires_at + COMPOSING_SECONDS:
            continue
        try:
            if not tally.ended:
                await _expire(ctx, tally.id)
            await free(ctx, tally.id)
        except Unavailable:
            raise
        except Exception:
            log.exception("the end of %s failed; it will be tried again", tally.id)


async def give_up(ctx: Context, upload_id: str) -> bool:
    """Let an upload expire whose time is over, whatever of it is missing. Whether it was still to end."""

    def edit(tally: UploadTally) -> None:
        if tally.ended:
            raise _Ended
        tally.ended = True

    end = Change(UploadTally, upload_id, edit)
    try:
        await salvage(ctx.store, [Change(Upload, upload_id, _let_expire), end], end)
    except (Missing, _Ended):
        return False
    await _free_now(ctx, upload_id)
    return True


class _Ended(Exception):
    """Somebody else was faster."""


async def _expire(ctx: Context, upload_id: str) -> None:
    await ctx.store.write(Change(Upload, upload_id, _let_expire), Change(UploadTally, upload_id, _end))


def _let_expire(upload: Upload) -> None:
    if upload.status == "pending":
        upload.status = "expired"
