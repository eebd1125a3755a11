"""Writing what was laid out, some hundred objects a transaction, those first that others hang on.

What stands already is left as it is: equal to what comes, it is unchanged; other content, or another project, has taken
the id. Whatever is killed, the next import finds what is missing, and gives it the same place.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from everloom.context import Context
from everloom.objects.base import Object, encode
from everloom.objects.batches import Batch, BatchWork
from everloom.objects.files import AssistantFile, File, FileDigest
from everloom.objects.projects import Project
from everloom.objects.vector_stores import VectorStore, VectorStoreFile
from everloom.store.base import SYSTEM, Add, Change, Conflict, Missing, Operation, Store
from everloom.work.transfer.completing import complete
from everloom.work.transfer.content import Content, Stands, digest_of
from everloom.work.transfer.documents import NoRecord
from everloom.work.transfer.shapes import NOUNS, OBJECTS, PARENTS
from everloom.work.transfer.stage import Stage, Staged
from everloom.work.vector_stores.moving import moving_files_in, moving_in

GROUP = 500
"""Objects that are written in one transaction."""

GROUP_BYTES = 4 * 1024 * 1024
_TRIES = 20

ASSISTANT_FILES = 20
"""Places for files that an assistant has."""

TAKEN_ID = "id taken by other content"


class Report(Struct):
    """What came of an import: how many objects, by what the API calls them. What was not taken stands in the stage."""

    taken: Counter[str] = field(default_factory=Counter)
    unchanged: Counter[str] = field(default_factory=Counter)


class Taking:
    """One import into a project. ``dry`` writes nothing. ``told`` hears how many objects have been dealt with."""

    def __init__(self, ctx: Context, stage: Stage, *, dry: bool = False) -> None:
        self._ctx = ctx
        self._stage = stage
        self._dry = dry
        self._others: list[Store] | None = None
        self.report = Report()
        self.told: Callable[[int, int], None] = lambda done, total: None

    async def take(self) -> None:
        """Write all that is laid out."""
        if self._others is None:
            database = self._ctx.ports.database
            projects = [SYSTEM, *(each.id for each in await database.store(SYSTEM).all(Project))]
            self._others = [database.store(id) for id in projects if id != self._ctx.project]
        await complete(self._ctx, self._stage)
        total, done = self._stage.settle(), 0
        for cls in NOUNS.values():
            for group in self._stage.settled(cls, GROUP, GROUP_BYTES):
                if cls is File:
                    for staged in group:
                        await self._take_file(staged)
                else:
                    await self._take_group(cls, group)
                done += len(group)
                self.told(done, total)

    # --- groups ------------------------------------------------------------------------------------------------------

    async def _hung(self, cls: type[Object], group: list[Staged]) -> list[Staged]:
        """Those whose parents stand, or will."""
        if (held := PARENTS.get(cls)) is None:
            return group
        parent, _ = held
        ids = sorted({staged.parent for staged in group})
        coming = self._stage.created_at(parent, ids)
        standing = {each.id: each.created_at for each in await self._ctx.store.all(parent, id=ids)}
        if self._dry:
            standing = coming | standing
        kept: list[Staged] = []
        for staged in group:
            made = standing.get(staged.parent)
            if made is not None and made == coming.get(staged.parent, made):
                kept.append(staged)
            else:
                why = "is not here" if made is None else "is another one here, made at another time"
                self._skip(staged, f"its {OBJECTS[parent].rpartition('.')[2]} {staged.parent} {why}")
        return kept

    async def _take_group(self, cls: type[Object], group: list[Staged]) -> None:
        for _ in range(_TRIES):
            group = await self._hung(cls, group)
            fresh, same, others = await self._sorted_out(cls, group)
            if fresh and not self._dry:
                try:
                    for operations in await self._operations(cls, fresh):
                        await self._ctx.store.write(*operations)
                except (Conflict, Missing):
                    continue  # Somebody else brings the same, or takes away what it hangs on.
            for staged, why in others:
                self._skip(staged, why)
            self._count(self.report.unchanged, same)
            self._count(self.report.taken, fresh)
            return
        for staged in group:
            self._skip(staged, "others do not cease to change what it hangs on")

    async def _sorted_out(
        self, cls: type[Object], group: list[Staged]
    ) -> tuple[list[Staged], list[Staged], list[tuple[Staged, str]]]:
        """Those that are missing, those that stand as they are, and those whose ids are taken."""
        if cls is AssistantFile:
            return await self._attachments(group)
        keys = [staged.key for staged in group]
        standing = {_key(thing): thing for thing in await self._ctx.store.all(cls, id=keys)}
        elsewhere = await self._elsewhere(cls, [key for key in keys if key not in standing])
        fresh: list[Staged] = []
        same: list[Staged] = []
        others: list[tuple[Staged, str]] = []
        for staged in group:
            if (thing := standing.get(staged.key)) is not None:
                if _identity(thing) == _identity(staged.thing):
                    same.append(staged)
                else:
                    others.append((staged, TAKEN_ID))
            elif staged.key in elsewhere:
                others.append((staged, "id taken by another project"))
            else:
                fresh.append(staged)
        return fresh, same, others

    async def _elsewhere(self, cls: type[Object], keys: Sequence[str]) -> set[str]:
        """Which of these stand in other projects."""
        found: set[str] = set()
        if cls is not VectorStoreFile and keys:  # That one hangs on its store.
            for store in self._others or ():
                found |= {_key(thing) for thing in await store.all(cls, id=list(keys))}
        return found

    async def _operations(self, cls: type[Object], fresh: list[Staged]) -> list[list[Operation]]:
        """What keeps them, in one write or several."""
        if cls is VectorStore:
            stores = [moving_in(self._ctx, staged.thing, staged.rank) for staged in fresh]
            return [[operation for operations in stores for operation in operations]]
        if cls is Batch:  # With what a second attempt at what has failed asks for; nobody works on it.
            works = [
                BatchWork(id=staged.key, created_at=staged.thing.created_at, key_id="", user="", base_url="")
                for staged in fresh
            ]
            return [[*(Add(staged.thing, rank=staged.rank) for staged in fresh), *map(Add, works)]]
        if cls is VectorStoreFile:
            writes = []
            for store in await self._ctx.store.all(VectorStore, id=sorted({staged.parent for staged in fresh})):
                own = [staged for staged in fresh if staged.parent == store.id]
                ranks = {staged.key: staged.rank for staged in own}
                writes.append(moving_files_in(self._ctx, store, [staged.thing for staged in own], ranks))
            return writes
        adding: list[Operation] = [Add(staged.thing, rank=staged.rank) for staged in fresh]
        if (held := PARENTS.get(cls)) is not None:  # What goes meanwhile takes with it all that hangs on it.
            adding = [*(Change(held[0], id) for id in sorted({staged.parent for staged in fresh})), *adding]
        return [adding]

    async def _attachments(self, group: list[Staged]) -> tuple[list[Staged], list[Staged], list[tuple[Staged, str]]]:
        """As ``_sorted_out``, of assistants' files: each takes the first place of its assistant that is free."""
        parents = sorted({staged.parent for staged in group})
        rows = await self._ctx.store.all(AssistantFile, assistant_id=parents)
        held = {(row.assistant_id, row.file_id) for row in rows}
        taken = {row.id for row in rows}
        fresh: list[Staged] = []
        same: list[Staged] = []
        others: list[tuple[Staged, str]] = []
        for staged in group:
            row: AssistantFile = staged.thing
            stem = f"asstfile_{row.assistant_id.removeprefix('asst_')}"
            places = (place for number in range(ASSISTANT_FILES) if (place := f"{stem}_{number}") not in taken)
            if (row.assistant_id, row.file_id) in held:
                same.append(staged)
            elif free := next(places, ""):
                row.id = free
                taken.add(free)
                fresh.append(staged)
            else:
                others.append((staged, f"its assistant has {ASSISTANT_FILES} files already"))
        return fresh, same, others

    # --- files -------------------------------------------------------------------------------------------------------

    async def _take_file(self, staged: Staged) -> None:
        """Keep a file with its bytes."""
        try:
            fresh, _, others = await self._sorted_out(File, [staged])
            if fresh and not self._dry:
                path = self._content(staged)
                await Content(self._ctx, self._others or (), staged.thing, staged.rank, path).keep()
            elif not fresh and not others and not await self._has_its_bytes(staged):
                others = [(staged, TAKEN_ID)]
        except Stands:
            await self._take_file(staged)
        except NoRecord as error:
            self._skip(staged, str(error))
        except OSError as error:
            self._skip(staged, f"its content cannot be read: {error.strerror or error}")
        else:
            for each, why in others:
                self._skip(each, why)
            self._count(self.report.taken, fresh)
            self._count(self.report.unchanged, [] if fresh or others else [staged])

    def _content(self, staged: Staged) -> Path:
        found = self._stage.content_of(staged.thing)
        if found is None:
            raise NoRecord("its content has gone")
        return found.path

    async def _has_its_bytes(self, staged: Staged) -> bool:
        """Whether the file that stands has the bytes that come. Files of earlier days say nothing of theirs."""
        kept = await self._ctx.store.all(FileDigest, id=[staged.key])
        return not kept or kept[0].sha256 == digest_of(self._content(staged))

    # --- counting ----------------------------------------------------------------------------------------------------

    def _count(self, counter: Counter[str], group: Sequence[Staged]) -> None:
        for staged in group:
            counter[OBJECTS[staged.cls]] += 1

    def _skip(self, staged: Staged, why: str) -> None:
        self._stage.note(staged.file, staged.line, OBJECTS[staged.cls], staged.key, why)


def _key(thing: Any) -> str:
    return str(thing.key if isinstance(thing, VectorStoreFile) else thing.id)


def _identity(thing: Object) -> Any:
    """What of an object does not change by being used."""
    if isinstance(thing, VectorStore):
        return thing.created_at, thing.name, thing.metadata, thing.expires_after
    if isinstance(thing, VectorStoreFile):
        return thing.created_at, encode(thing.chunking_strategy), thing.attributes
    return encode(thing)
