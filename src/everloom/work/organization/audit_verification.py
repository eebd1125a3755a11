"""Whether the audit log is what was written: each row against the one before, and all of it against what was signed.

The chain alone tells what was changed by somebody who did not make all that follows anew. Checkpoints tell of one who
did, and of an end that was cut off, as far as the last of them that he could not reach: that is what a witness is for.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import asdict

from everloom.kit.clock import now
from everloom.objects.audit import (
    AUDIT_COLUMNS,
    GENESIS,
    AuditHead,
    AuditRecord,
    AuditRow,
    Checkpoint,
    chained,
    legible,
    row_of,
)
from everloom.objects.base import encode
from everloom.store.registers import AuditLog
from everloom.work.organization.audit_logs import all_rows
from everloom.work.organization.checkpoints import CHECKPOINT_SECONDS, LOOK_SECONDS

NOTHING: Mapping[int, bytes] = MappingProxyType({})

Signed = Callable[[Checkpoint], bool]
"""Whether a checkpoint bears the signature of a key that is trusted."""


class Fault(NamedTuple):
    """Something that is not as it was written; ``seq`` is the first row that it concerns, where it concerns one."""

    text: str
    seq: int | None = None


class Verification(NamedTuple):
    """What came of looking. ``signed``: the last row that a checkpoint vouches for, and when it was signed."""

    rows: int
    hash: bytes
    signed: Checkpoint | None
    faults: tuple[Fault, ...]


async def verify(
    log: AuditLog,
    witness: Sequence[Checkpoint] | None,
    is_signed: Signed,
    *,
    illegible: Mapping[int, bytes] = NOTHING,
    has_signed: bool = True,
) -> Verification:
    """Read the whole log once, a few rows at a time. ``witness``: all that it remembers; None where there is none.

    ``illegible``: its lines that are no checkpoints. ``has_signed``: something has been signed, as who asks knows. The
    end is asked for before and after, so that a server may go on writing meanwhile.
    """
    kept = await log.checkpoints()
    before = await log.head()
    told = [("the witness", each) for each in witness or ()] + [("the database", each) for each in kept]
    good = [each for _, each in told if is_signed(each)]
    walk = _Walk(good)
    faults = [fault] if (fault := await _walked(log, walk, before)) is not None else []
    faults += [
        Fault(f"a checkpoint of row {each.seq} in {where} bears no signature of a key that was given", each.seq)
        for where, each in told
        if not is_signed(each)
    ]
    is_old = walk.first_at is not None and now() - walk.first_at > CHECKPOINT_SECONDS + LOOK_SECONDS
    if has_signed or is_old or kept or witness:
        faults += _remembering(witness, kept, illegible)
    if not good and walk.seq and (has_signed or is_old):
        why = "the key has signed before" if has_signed else "the first is older than an hour"
        faults.append(Fault(f"no checkpoint vouches for any row, and {why}: all may have been written anew"))
    if strays := await log.count(0):
        faults.append(Fault(f"{strays} rows stand before row 1, where the chain has none: they were put in"))
    faults += [
        Fault(f"the database finds its rows no more by its indexes: {text}") for text in await log.index_faults()
    ]
    return Verification(walk.seq, walk.hash, walk.signed, tuple(faults))


async def _walked(log: AuditLog, walk: "_Walk", before: AuditHead) -> Fault | None:
    """The first fault of the rows from 1 on."""
    async for row in all_rows(log):
        if (fault := walk.step(row)) is not None:
            return fault
    if (fault := walk.end(before, await log.head())) is not None:
        return fault
    found = await log.count(walk.seq) - await log.count(0)
    if found != walk.seq:
        return Fault(
            f"{found} rows stand where the chain has {walk.seq}: some were put in beside those of their number"
        )
    return None


def _remembering(
    witness: Sequence[Checkpoint] | None, kept: Sequence[Checkpoint], illegible: Mapping[int, bytes]
) -> Iterable[Fault]:
    """What is wrong with the witness, and with the database's checkpoints beside it."""
    for number, line in illegible.items():
        if not _is_torn(line, kept):
            yield Fault(f"line {number} of the witness is no checkpoint, nor what a crash has left of one")
    if witness is None:
        yield Fault("there is no witness: nothing outside the database says what stood in it")
    elif not witness:
        yield Fault(f"the witness remembers nothing{', and the database has checkpoints' if kept else ''}")
    else:
        yield from _unlike(witness, kept)


def _unlike(witness: Sequence[Checkpoint], kept: Sequence[Checkpoint]) -> Iterable[Fault]:
    """Checkpoints that stand in one place and not in the other. The newest of a key may be on its way."""
    seen, known = set(witness), set(kept)
    newest = max(each.seq for each in witness)
    last = {each.key: each for each in kept}
    for each in witness:
        if each not in known:
            yield Fault(f"the checkpoint of row {each.seq} in the witness is gone from the database", each.seq)
    for each in kept:
        if each not in seen and (each.seq <= newest or each != last[each.key]):
            yield Fault(f"the checkpoint of row {each.seq} in the database is gone from the witness", each.seq)


def _is_torn(line: bytes, checkpoints: Iterable[Checkpoint]) -> bool:
    """Whether a line is what a crash has left of the line of one of these."""
    begun = line.rstrip(b"\0\n")
    return any(encode(each).startswith(begun) for each in checkpoints)


class _Walk:
    """Along the chain from its beginning. ``seq`` and ``hash`` are those of the last row that was found good."""

    def __init__(self, checkpoints: Iterable[Checkpoint]) -> None:
        self.seq = 0
        self.hash = GENESIS
        self.signed: Checkpoint | None = None
        self.first_at: int | None = None
        """When the first row was written, as it says."""
        self._checkpoints: dict[int, list[Checkpoint]] = defaultdict(list)
        for each in checkpoints:
            self._checkpoints[each.seq].append(each)

    def step(self, row: AuditRow) -> Fault | None:
        """Take the next row that there is; what is wrong with it, if anything is."""
        expected = self.seq + 1
        if row.seq != expected:
            return Fault(f"row {expected} is missing: on row {self.seq} follows row {row.seq}", expected)
        if (record := legible(row)) is None:
            return Fault(f"row {row.seq} was changed: nobody can read it", expected)
        hash = chained(self.hash, row.body)
        if fault := _fault_of(row, record, hash):
            return Fault(fault, expected)
        for checkpoint in self._checkpoints.get(expected, ()):
            if checkpoint.hash != hash.hex():
                return self._rewritten(checkpoint)
            self.signed = checkpoint
        if expected == 1:
            self.first_at = record.effective_at
        self.seq, self.hash = expected, hash
        return None

    def _rewritten(self, checkpoint: Checkpoint) -> Fault:
        first = self.signed.seq + 1 if self.signed else 1
        text = f"row {checkpoint.seq} is not the one that was signed: the chain was written anew from row {first} on"
        return Fault(f"{text}, or from one between them", first)

    def end(self, before: AuditHead, after: AuditHead) -> Fault | None:
        """What is wrong where the rows end: a chain that went on, by what was signed or by what it says itself."""
        if last := max((seq for seq in self._checkpoints if seq > self.seq), default=0):
            text = f"row {self.seq + 1} is missing, and all behind it: row {last} was signed"
            return Fault(text, self.seq + 1)
        if before.seq > self.seq:
            return Fault(
                f"row {self.seq + 1} is missing: the chain's end says that there are {before.seq}", self.seq + 1
            )
        if after.seq < self.seq:
            return Fault(f"row {after.seq + 1} was added behind the end of the chain", after.seq + 1)
        if after.seq == self.seq and after.hash != self.hash:
            return Fault(f"row {self.seq} is not the one that the chain's end names", self.seq)
        return None


def _fault_of(row: AuditRow, record: AuditRecord, hash: bytes) -> str | None:
    """What is wrong with a row that has to have this hash."""
    if record.seq != row.seq:
        return f"row {row.seq} is not in its place: it was written as row {record.seq}"
    if row.hash != hash:
        return f"row {row.seq} was changed, or the row before it: it does not follow on what stands there"
    wanted = row_of(record, row.body, hash)
    if row != wanted and (columns := _unlike_columns(row, wanted)):
        return f"row {row.seq} was changed: its columns ({', '.join(columns)}) are not what it says"
    return None


def _unlike_columns(row: AuditRow, wanted: AuditRow) -> list[str]:
    """PostgreSQL's columns have U+FFFD for what they cannot hold."""
    found, right = asdict(row), asdict(wanted)
    return [name for name in AUDIT_COLUMNS if found[name] != right[name] and found[name] != _columned(right[name])]


def _columned(value: object) -> object:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
