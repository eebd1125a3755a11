"""The store's port: one project's objects, changed in transactions, and the log of what was told about them.

Adapters: ``sqlite.py`` and ``postgres.py``; contract suite: ``tests/contracts/test_store.py``.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

from msgspec import Struct, field

from everloom.kit.errors import NotFound
from everloom.kit.ids import new_id
from everloom.objects.audit import AuditEvent
from everloom.objects.base import Object, Page, PageQuery
from everloom.objects.events import EventName
from everloom.objects.jobs import Backlog, Job, Lane
from everloom.objects.ledger import LedgerRow
from everloom.store.registers import AuditLog, Ledger

T = TypeVar("T", bound=Object)

SYSTEM = ""
"""The project of what belongs to no project: the organization, its users, the projects themselves and all keys."""


class Conflict(Exception):
    """An ``Add`` of an id that stands already in the project."""


class Missing(NotFound):
    """What a verb of the store names is not there: ``noun`` and ``id`` say to people which, ``cls`` and ``key`` to
    programs.

    What it means depends on what is missing: a run that is gone is nobody's concern any more, a message that is gone
    ends the run that wrote it.
    """

    def __init__(self, message: str, cls: type[Object], key: str, noun: str) -> None:
        super().__init__(message)
        self.cls = cls
        self.key = key
        self.noun = noun

    @property
    def id(self) -> str:
        """As the wire shows it (``Kind.key``)."""
        return self.key.rpartition(".")[2]

    def concerns(self, operation: "Operation") -> bool:
        """Whether an operation asks for what is missing."""
        return isinstance(operation, Change | Remove) and operation.cls is self.cls and operation.id == self.key


class Add(Struct, Generic[T], frozen=True):
    """Keep a new object. ``tell`` names the events that carry it, in order, into the write's log."""

    object: T
    tell: tuple[EventName, ...] = ()
    rank: int | None = None
    """Its place in lists; by default the rank inside its id, or a fresh one for an id of another make."""


class Change(Generic[T]):
    """Read an object, edit it, write it back, in one transaction; the row is locked meanwhile.

    ``edit`` changes the object in place; what it raises rolls the whole write back. ``where`` are
    further columns that must fit (else ``Missing``). ``edit=None`` locks the row and changes nothing.
    ``edit`` is called in the adapter's own thread or loop, and again on a fresh object if the
    transaction has to be begun again: it does nothing but edit.
    ``then`` gives what follows from the object as it is now, done behind all operations of the write; as ``Each.then``.
    """

    __slots__ = ("cls", "edit", "id", "tell", "then", "where")

    def __init__(
        self,
        cls: type[T],
        id: str,
        edit: Callable[[T], None] | None = None,
        *,
        tell: Sequence[EventName] = (),
        then: "Callable[[T], Sequence[Operation]] | None" = None,
        **where: Any,
    ) -> None:
        self.cls = cls
        self.id = id
        self.edit = edit
        self.tell = tell
        self.then = then
        self.where = where


class Remove(Generic[T]):
    """Take away one object (by ``id``, ``Missing`` when it is not there) or all that fit ``where``; of a list of ids
    those that are there.

    ``audit`` makes an event of each that goes, as ``Audit`` has it: whoever removes many need not know which.
    """

    __slots__ = ("audit", "cls", "id", "where")

    def __init__(
        self,
        cls: type[T],
        id: str | Sequence[str] | None = None,
        *,
        audit: Callable[[T], AuditEvent] | None = None,
        **where: Any,
    ) -> None:
        self.cls = cls
        self.id = id
        self.audit = audit
        self.where = where


class Absent(Generic[T]):
    """Ask that no object fits ``where``; otherwise what ``error`` makes of the first one is raised."""

    __slots__ = ("cls", "error", "where")

    def __init__(self, cls: type[T], error: Callable[[T], Exception], **where: Any) -> None:
        self.cls = cls
        self.error = error
        self.where = where


class Present(Generic[T]):
    """Ask that, after the operations before it, some object fits ``where``; otherwise ``error`` is raised.

    Others may take that object away at the same time, unless they have to wait for a row that this write has locked.
    """

    __slots__ = ("cls", "error", "where")

    def __init__(self, cls: type[T], error: Exception, **where: Any) -> None:
        self.cls = cls
        self.error = error
        self.where = where


class Each(Generic[T]):
    """For each object that fits ``where``, do what ``then`` gives, behind all operations of the write.

    In most writes there is none, and this costs a look into an index. The rows are locked, oldest first. ``then`` is
    called where edits are, again if the transaction is begun again; it may change what it was given, add and start
    things, and tells nothing. An object that cannot be read is passed over.
    """

    __slots__ = ("cls", "then", "where")

    def __init__(self, cls: type[T], then: "Callable[[T], Sequence[Operation]]", **where: Any) -> None:
        self.cls = cls
        self.then = then
        self.where = where


class Tell(Struct, frozen=True):
    """Append an event that carries no stored object: a delta."""

    name: EventName
    data: bytes


class Retract(Struct, frozen=True):
    """Blank the events from ``seq`` on: a new executor tells that part again, under higher numbers."""

    seq: int


class DropLog(Struct, frozen=True):
    """Take a whole log away."""

    log: str


class Pack(Struct, frozen=True):
    """Have a log hold these ``events`` and no others, in few rows. Nothing may be told to it any more."""

    log: str
    events: tuple["Event", ...]


LONGEST_WAIT = 60
"""Seconds that a start may be put off."""


def _new_job_id() -> str:
    return new_id("job_")


class Start(Struct, frozen=True):
    """Have a worker look at ``key``: kept in the outbox by the same write as what there is to see, and told to this
    process's engine behind it. Each has an id of its own, so none is lost on another that was there before.

    ``after`` so many seconds, ``LONGEST_WAIT`` at most; it is found in the outbox then, by whoever looks first.
    """

    kind: str
    key: str
    lane: Lane = "live"
    after: float = 0.0
    id: str = field(default_factory=_new_job_id)


class Enter(Struct, frozen=True):
    """Enter rows into the ledger with what they were used for. Rows that stand there already are left as they are, so
    a write that is made again counts nothing twice.
    """

    rows: tuple[LedgerRow, ...]


class Audit(Struct, frozen=True):
    """Append events to the audit log with what they tell of: they stand there if, and only if, the write came about.

    Wherever it stands among the operations, it is done last: the chain's head is one row, locked when all else is, so
    that two writes never wait for each other.
    """

    events: tuple[AuditEvent, ...]


def started(project: str, written: "Written") -> list[Job]:
    """The jobs that a write has started, to be looked at now."""
    return [Job(one.id, project, one.kind, one.key, one.lane) for one in written.starts if not one.after]


Operation = (
    Add[Any]
    | Change[Any]
    | Remove[Any]
    | Absent[Any]
    | Present[Any]
    | Each[Any]
    | Tell
    | Retract
    | DropLog
    | Pack
    | Start
    | Enter
    | Audit
)


class Written:
    """What came of a write, by its operations: the object of an ``Add`` or a ``Change``, the count of a ``Remove``.

    ``written[change]`` is looked up by identity; ``KeyError`` for an operation that was not in this write.
    """

    __slots__ = ("_found", "_operations", "_results", "starts")

    def __init__(self, operations: Sequence[Operation], results: Sequence[Any], starts: Sequence[Start] = ()) -> None:
        self.starts = starts
        """Those among the operations, and what followed from them."""
        self._operations = operations
        self._results = results
        self._found: dict[int, Any] | None = None

    @overload
    def __getitem__(self, operation: Add[T] | Change[T]) -> T: ...

    @overload
    def __getitem__(self, operation: Remove[Any]) -> int: ...

    def __getitem__(self, operation: Add[Any] | Change[Any] | Remove[Any]) -> Any:
        if self._found is None:  # most writes are never asked
            self._found = {id(each): result for each, result in zip(self._operations, self._results, strict=True)}
        return self._found[id(operation)]


class Event(Struct, frozen=True):
    """One line of a log. ``seq`` counts up from 1 within its log and is never given twice.

    ``pieces``: how many characters each of the deltas brought that were folded into this one, which has the last's seq.
    """

    seq: int
    name: EventName
    data: bytes
    pieces: tuple[int, ...] = ()


class Store(Protocol):
    """One project's objects. Columns in ``where`` are those of ``kinds.py``; a list as value means any of them. ``all``
    and ``Each`` take a kind's terms as well: a text that an object has among others.
    """

    project: str

    async def get(self, cls: type[T], id: str, **where: Any) -> T:
        """The object, or ``Missing``, a ``NotFound`` with the platform's text."""
        ...

    async def find(
        self, cls: type[T], page: PageQuery, *, metadata: dict[str, str] | None = None, **where: Any
    ) -> Page[T]:
        """A page in the order things were made; ``page.order`` says which end is first.

        ``after`` and ``before`` are ids, and objects may come and go meanwhile: an id of our own make
        says where it stood. One that means nothing here is a ``BadRequest``. ``before`` alone gives
        the ``limit`` objects nearest to it, in the list's order; both give what lies between, from
        ``after`` on. ``has_more``: whether there are more in the direction walked. ``metadata`` are
        pairs that an object of a kind with such terms must carry; where there are none, it must not carry any.
        """
        ...

    async def all(self, cls: type[T], **where: Any) -> list[T]:
        """Every object that fits, oldest first."""
        ...

    async def write(self, *operations: Operation, log: str | None = None) -> Written:
        """All of the operations in one transaction, or none. Durable when it returns.

        What came of an operation is asked for by it: ``written[change]``. ``log`` names the log that the events go to.
        """
        ...

    async def events(self, log: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """The events of a log behind ``after``, in order, those that were retracted left out."""
        ...

    async def last_seq(self, log: str) -> int:
        """The highest number that a log has given, to a retracted event too; 0 for an empty one."""
        ...


class Database(Protocol):
    """The whole store: opens, hands out one project's view, and looks across projects where upkeep has to.

    It keeps the outbox, too: the jobs that were started and have not been done. A job engine takes them from there.
    """

    on_start: Callable[[Sequence[Job]], None]
    """Hears of jobs that this process has started, once their write is durable, on the thread of the loop that wrote.
    What is called must not raise. It may miss some (a caller that was cancelled in the commit): ``waiting`` has all.
    """

    @property
    def ledger(self) -> Ledger:
        """What all projects have used."""
        ...

    @property
    def audit(self) -> AuditLog:
        """What was done to the organization."""
        ...

    async def open(self) -> None:
        """Connect, and bring the schema up to date (one process does it, the others wait)."""
        ...

    async def close(self) -> None: ...

    def store(self, project: str) -> Store:
        """One project's view; costs nothing."""
        ...

    async def across(self, cls: type[T], limit: int = 1000, **where: Any) -> list[tuple[str, T]]:
        """(project, object) of every project, oldest first: for timers and recovery, never for a caller."""
        ...

    def walk(self, cls: type[T], **where: Any) -> AsyncIterator[tuple[str, T]]:
        """As ``across``, but all of them, in no order, read some at a time: for upkeep."""
        ...

    async def tally(self, cls: type[Any], name: str, **where: Any) -> dict[str, int]:
        """How many objects of every project have each value of the text ``name``. They are read, so ``where`` has to
        leave few: those of a boolean column.
        """
        ...

    async def touch(self) -> None:
        """Make a real small write that changes nothing, and return once it is durable: so others can, too."""
        ...

    async def waiting(self, lane: Lane, limit: int) -> list[Job]:
        """The oldest jobs of a lane that are not done, and are to be looked at by now."""
        ...

    async def backlog(self) -> dict[Lane, Backlog]:
        """Of each lane that has any, how many jobs stand in the outbox whose time has come."""
        ...

    async def done(self, ids: Sequence[str]) -> None:
        """Strike jobs off the outbox; one that is not there is no error."""
        ...


async def change_one(store: Store, change: Change[T], *, log: str | None = None) -> T:
    """A write of one change: the object as it is afterwards."""
    return (await store.write(change, log=log))[change]
