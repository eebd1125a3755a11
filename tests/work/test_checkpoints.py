"""When the audit log's end is signed, and by whom."""

from pathlib import Path

import msgspec
import pytest

from everloom.evidence import keys
from everloom.evidence.base import Evidence
from everloom.evidence.keys import KeyFile
from everloom.evidence.witness import WitnessFile, read_witness
from everloom.kit.clock import now
from everloom.objects.audit import AuditHead
from everloom.store.base import Database
from everloom.work.organization import checkpoints
from everloom.work.organization.checkpoints import CHECKPOINT_SECONDS, ChainBroken
from tests.audited import AuditedDatabase
from tests.blobs import ports_of
from tests.store.databases import every_adapter


def sweep(log: AuditedDatabase) -> list[int]:
    """Look once; the rows that the witness has seen signed since the beginning."""
    log.run(lambda database: checkpoints.sweep(log.ports(database)))
    return [each.seq for each in read_witness(log.witness)[0]] if log.witness.exists() else []


def signed_at(log: AuditedDatabase, at: int) -> None:
    """A checkpoint of the end, made at a time."""
    ((seq, hash),) = log.query("SELECT seq, hash FROM audit_heads")
    checkpoint = log.evidence().signer.sign(AuditHead(seq, bytes(hash)), at)
    log.run(lambda database: database.audit.keep_checkpoint(checkpoint))
    WitnessFile(log.witness).append([checkpoint])


@every_adapter
def test_every_hour_where_there_is_something_new(adapter: str, tmp_path: Path) -> None:
    log = AuditedDatabase(adapter, tmp_path)
    assert sweep(log) == []
    log.write("a", "b")
    assert sweep(log) == [2], "the first at once"
    log.write("c")
    assert sweep(log) == [2], "the next in an hour"
    signed_at(log, now() - CHECKPOINT_SECONDS)
    assert sweep(log) == [2, 3], "nothing is new"
    log.write("d")
    assert sweep(log) == [2, 3, 4]
    assert log.verify().faults == ()


def test_a_clock_that_was_set_back_puts_nothing_off(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    log.write("a")
    signed_at(log, now() + 1_000_000)
    log.write("b")
    assert sweep(log) == [1, 2]


@pytest.mark.parametrize("adapter", ["sqlite", "postgresql"])
def test_who_comes_later_keeps_none(adapter: str, tmp_path: Path) -> None:
    log = AuditedDatabase(adapter, tmp_path)
    log.write("a", "b")
    ((seq, hash),) = log.query("SELECT seq, hash FROM audit_heads")
    signer = log.evidence().signer
    first, second, earlier = (signer.sign(AuditHead(at, bytes(hash)), 5) for at in (seq, seq, seq - 1))
    assert log.run(lambda database: database.audit.keep_checkpoint(first))
    assert not log.run(lambda database: database.audit.keep_checkpoint(second))
    assert not log.run(lambda database: database.audit.keep_checkpoint(earlier))
    assert log.query("SELECT COUNT(*) FROM audit_checkpoints") == [(1,)]


def test_nothing_is_signed_without_evidence(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    log.write("a")
    log.run(lambda database: checkpoints.sweep(ports_of(database, tmp_path)))
    assert log.query("SELECT COUNT(*) FROM audit_checkpoints") == [(0,)]


def test_a_key_of_the_settings_does_not_begin_with_an_old_log(tmp_path: Path) -> None:
    """Nobody knows whether it has signed; of a key that is made by the first to sign, everybody."""
    log = AuditedDatabase("sqlite", tmp_path)
    key = KeyFile(log.key, make=True)
    key.public()
    made = Evidence(signer=KeyFile(log.key, make=False), witness=WitnessFile(log.witness))

    async def look(database: Database) -> None:
        await checkpoints.sweep(msgspec.structs.replace(log.ports(database), evidence=made))

    with pytest.MonkeyPatch.context() as patch:
        then = now() - 2 * CHECKPOINT_SECONDS
        patch.setattr("everloom.store.audit.time.time", lambda: then)
        log.write("a")
    with pytest.raises(ChainBroken, match="the first row is older than an hour"):
        log.run(look)
    log.key.unlink()
    assert sweep(log) == [1]


def test_a_key_of_the_settings_goes_on_where_its_first_checkpoint_was_kept_and_not_remembered(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    KeyFile(log.key, make=True).public()
    made = Evidence(signer=KeyFile(log.key, make=False), witness=WitnessFile(log.witness))

    async def look(database: Database) -> None:
        await checkpoints.sweep(msgspec.structs.replace(log.ports(database), evidence=made))

    log.write("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WitnessFile, "append", _die)
        with pytest.raises(Killed):
            log.run(look)
    log.run(look)
    assert [each.seq for each in read_witness(log.witness)[0]] == [1]
    log.write("b")
    signed_at(log, now())
    log.witness.unlink()
    with pytest.raises(ChainBroken, match="the database has checkpoints of this key"):
        log.run(look)


class Killed(Exception):
    """In place of ``kill -9``, at just one point."""


def _die(*given: object) -> None:
    raise Killed


def killed_at(where: object, name: str, log: AuditedDatabase) -> None:
    """Look once, and die there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, _die)
        with pytest.raises(Killed):
            sweep(log)


@every_adapter
@pytest.mark.parametrize(
    ("where", "name"),
    [(keys, "_read_private"), (WitnessFile, "append"), (KeyFile, "has_begun")],
    ids=["key made", "kept in the database", "remembered"],
)
@pytest.mark.parametrize("more", [True, False], ids=["and goes on", "and has nothing new"])
def test_who_dies_before_the_first_checkpoint_is_whole_is_gone_on_from(
    adapter: str, where: object, name: str, more: bool, tmp_path: Path
) -> None:
    log = AuditedDatabase(adapter, tmp_path)
    log.write("a")
    killed_at(where, name, log)
    assert log.key.exists()
    if more:
        log.write("b")
    log.sign()
    assert log.verify().faults == ()
    assert [each.seq for each in read_witness(log.witness)[0]][-1] == (2 if more else 1)
    assert KeyFile(log.key, make=True).has_signed_before()
    log.witness.unlink()
    with pytest.raises(ChainBroken, match="remembers nothing"):
        log.sign()


def test_a_key_has_signed_when_its_first_checkpoint_is_remembered(tmp_path: Path) -> None:
    key = KeyFile(tmp_path / "key.pem", make=True)
    assert key.has_signed_before() is False
    key.public()
    for each in (key, KeyFile(tmp_path / "key.pem", make=True)):
        assert each.has_signed_before() is False
    assert KeyFile(tmp_path / "key.pem", make=False).has_signed_before() is None
    key.has_begun()
    assert key.has_signed_before()
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]
