"""Every way to lay hands on the audit log is told, with the first row that it concerns, on both databases."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.evidence.keys import KeyFile
from everloom.evidence.witness import WitnessFile
from everloom.objects.audit import GENESIS, AuditHead, AuditRecord, chained
from everloom.work.organization.checkpoints import ChainBroken
from tests.audited import AuditedDatabase, a_signed_log
from tests.store.databases import every_adapter

COLUMNS = "id, type, effective_at, project_id, key_id, actor_id, actor_email, resource_id, body, hash"


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> AuditedDatabase:
    """Twelve rows, signed at the fifth and the ninth."""
    return a_signed_log(request.param, tmp_path)


def first_fault(log: AuditedDatabase) -> tuple[int | None, str]:
    found = log.verify()
    assert found.faults
    return found.faults[0].seq, found.faults[0].text


def test_a_log_that_nobody_touched_is_good(log: AuditedDatabase) -> None:
    found = log.verify()
    assert (found.faults, found.rows) == ((), 12)
    assert found.signed is not None
    assert found.signed.seq == 9
    log.sign()
    found = log.verify()
    assert (found.faults, found.signed and found.signed.seq) == ((), 12)
    assert len(log.witness.read_text().splitlines()) == 3
    log.sign()
    assert len(log.witness.read_text().splitlines()) == 3, "nothing new, nothing to sign"


def changed_body(log: AuditedDatabase, seq: int) -> bytes:
    ((body,),) = log.query("SELECT body FROM audit_events WHERE seq = :seq", seq=seq)
    return bytes(body).replace(b'"operator"', b'"somebody"')


def test_a_row_whose_content_was_changed(log: AuditedDatabase) -> None:
    log.by_hand("UPDATE audit_events SET body = :body WHERE seq = 7", body=changed_body(log, 7))
    seq, text = first_fault(log)
    assert seq == 7
    assert text.startswith("row 7 was changed")
    assert log.verify().rows == 6


def test_a_row_whose_content_and_hash_were_changed(log: AuditedDatabase) -> None:
    body = changed_body(log, 7)
    ((before,),) = log.query("SELECT hash FROM audit_events WHERE seq = 6")
    hash = chained(bytes(before), body)
    change = "UPDATE audit_events SET body = :body, hash = :hash, actor_id = 'somebody' WHERE seq = 7"
    log.by_hand(change, body=body, hash=hash)
    assert first_fault(log) == (8, "row 8 was changed, or the row before it: it does not follow on what stands there")


@pytest.mark.parametrize(
    "change",
    ["type = 'user.deleted'", "effective_at = effective_at - 9", "resource_id = ''", "actor_id = 'x'", "id = 'y'"],
)
def test_a_column_by_which_rows_are_found(log: AuditedDatabase, change: str) -> None:
    log.by_hand(f"UPDATE audit_events SET {change} WHERE seq = 3")
    seq, text = first_fault(log)
    assert seq == 3
    assert text == f"row 3 was changed: its columns ({change.split()[0]}) are not what it says"


def test_a_row_that_nobody_can_read(log: AuditedDatabase) -> None:
    log.by_hand("UPDATE audit_events SET body = :body WHERE seq = 2", body=b"{\xff")
    assert first_fault(log) == (2, "row 2 was changed: nobody can read it")


def test_a_row_that_was_taken_out(log: AuditedDatabase) -> None:
    log.by_hand("DELETE FROM audit_events WHERE seq = 4")
    assert first_fault(log) == (4, "row 4 is missing: on row 3 follows row 5")


def test_a_row_that_was_taken_out_and_the_others_moved_up(log: AuditedDatabase) -> None:
    log.by_hand("DELETE FROM audit_events WHERE seq = 4")
    for seq in range(5, 13):
        log.by_hand(f"UPDATE audit_events SET seq = {seq - 1} WHERE seq = {seq}")
    log.by_hand("UPDATE audit_heads SET seq = 11")
    assert first_fault(log) == (4, "row 4 is not in its place: it was written as row 5")


def test_a_row_that_was_put_in(log: AuditedDatabase) -> None:
    for seq in range(12, 5, -1):
        log.by_hand(f"UPDATE audit_events SET seq = {seq + 1} WHERE seq = {seq}")
    log.by_hand(
        f"INSERT INTO audit_events (seq, {COLUMNS}) SELECT 6, 'audit_log-x', {COLUMNS[4:]} FROM audit_events"
        " WHERE seq = 5"
    )
    assert first_fault(log) == (6, "row 6 is not in its place: it was written as row 5")


def test_two_rows_that_were_swapped(log: AuditedDatabase) -> None:
    for old, new in ((2, 100), (8, 2), (100, 8)):
        log.by_hand(f"UPDATE audit_events SET seq = {new} WHERE seq = {old}")
    assert first_fault(log) == (2, "row 2 is not in its place: it was written as row 8")


def cut(log: AuditedDatabase, seq: int) -> None:
    """Take the end away, and have the chain say that it ends there."""
    log.by_hand(f"DELETE FROM audit_events WHERE seq > {seq}")
    log.by_hand(
        f"UPDATE audit_heads SET seq = {seq}, hash = (SELECT hash FROM audit_events WHERE seq = {seq})",
    )


def test_an_end_that_was_cut_off(log: AuditedDatabase) -> None:
    log.by_hand("DELETE FROM audit_events WHERE seq > 10")
    assert first_fault(log) == (11, "row 11 is missing: the chain's end says that there are 12")
    cut(log, 8)
    assert first_fault(log) == (9, "row 9 is missing, and all behind it: row 9 was signed")
    log.by_hand("DELETE FROM audit_checkpoints WHERE seq > 8")
    faults = log.verify().faults
    assert [fault.text for fault in faults] == [
        "row 9 is missing, and all behind it: row 9 was signed",
        "the checkpoint of row 9 in the witness is gone from the database",
    ]


def test_what_no_checkpoint_has_seen_can_be_cut_off(log: AuditedDatabase) -> None:
    """What neither the chain nor a witness can know, and docs/audit.md says so."""
    cut(log, 9)
    assert log.verify().faults == ()


def test_everything_taken_away(log: AuditedDatabase) -> None:
    log.by_hand("DELETE FROM audit_events", "DELETE FROM audit_checkpoints")
    log.by_hand("UPDATE audit_heads SET seq = 0, hash = :hash", hash=GENESIS)
    assert first_fault(log) == (1, "row 1 is missing, and all behind it: row 9 was signed")


def test_a_row_behind_the_end(log: AuditedDatabase) -> None:
    ((before,),) = log.query("SELECT hash FROM audit_events WHERE seq = 12")
    put(log, 13, bytes(before), changed_body(log, 12).replace(b'"seq":12', b'"seq":13'))
    assert first_fault(log) == (13, "row 13 was added behind the end of the chain")


def test_an_end_that_names_another_row(log: AuditedDatabase) -> None:
    log.by_hand("UPDATE audit_heads SET hash = :hash", hash=GENESIS)
    assert first_fault(log) == (12, "row 12 is not the one that the chain's end names")
    log.by_hand("DELETE FROM audit_heads")
    assert first_fault(log) == (1, "row 1 was added behind the end of the chain")
    with pytest.raises(RuntimeError, match="the audit log's end is gone"):
        log.write("more")


def put(log: AuditedDatabase, seq: int, before: bytes, body: bytes) -> bytes:
    """Write a row as the program would."""
    record = msgspec.json.decode(body, type=AuditRecord)
    values = {"id": f"{record.id}_", "body": body.replace(record.id.encode(), f"{record.id}_".encode())}
    hash = chained(before, values["body"])
    log.by_hand(
        f"INSERT INTO audit_events (seq, {COLUMNS}) VALUES ({seq}, :id, :type, :at, '', '', :actor, '', :resource,"
        " :body, :hash)",
        **values,
        type=record.type,
        at=record.effective_at,
        actor=record.actor.id,
        resource=record.details["id"],
        hash=hash,
    )
    return hash


def rewrite(log: AuditedDatabase, edit: Callable[[Any], None], first: int = 1) -> None:
    """Write the chain anew from a row on, with all hashes right, as who has the database and the program could."""
    before = GENESIS
    rows = log.query("SELECT seq, body, hash FROM audit_events ORDER BY seq")
    for seq, body, hash in rows:
        if seq >= first:
            record = json.loads(bytes(body))
            if seq == first:
                edit(record)
            body = json.dumps(record, separators=(",", ":")).encode()
            hash = chained(before, body)
            log.by_hand(
                "UPDATE audit_events SET body = :body, hash = :hash, resource_id = :resource WHERE seq = :seq",
                body=body,
                hash=hash,
                resource=record["details"]["id"],
                seq=seq,
            )
        before = bytes(hash)
    log.by_hand("UPDATE audit_heads SET hash = :hash", hash=before)


def innocent(record: Any) -> None:
    record["details"]["id"] = "innocent"


@pytest.mark.parametrize(("first", "told", "signed"), [(1, 1, 5), (3, 1, 5), (6, 6, 9), (8, 6, 9)])
def test_a_chain_that_was_written_anew(log: AuditedDatabase, first: int, told: int, signed: int) -> None:
    rewrite(log, innocent, first)
    seq, text = first_fault(log)
    assert seq == told
    assert text.startswith(f"row {signed} is not the one that was signed: the chain was written anew from row {told}")


def test_a_chain_that_was_written_anew_is_not_signed_again(log: AuditedDatabase) -> None:
    rewrite(log, innocent, 8)
    before = log.witness.read_bytes()
    with pytest.raises(ChainBroken, match="row 9 of the audit log is not the one that was signed"):
        log.sign()
    cut(log, 7)
    with pytest.raises(ChainBroken, match="row 9"):
        log.sign()
    assert log.witness.read_bytes() == before


def test_a_chain_that_breaks_behind_the_last_checkpoint_is_not_signed(log: AuditedDatabase) -> None:
    log.by_hand("UPDATE audit_events SET body = :body WHERE seq = 11", body=changed_body(log, 11))
    with pytest.raises(ChainBroken, match="row 11 of the audit log does not follow on row 10"):
        log.sign()
    log.by_hand("DELETE FROM audit_events WHERE seq >= 11")
    with pytest.raises(ChainBroken, match="the audit log ends at row 10, and its end says 12"):
        log.sign()


def test_another_log_in_its_place(log: AuditedDatabase, tmp_path: Path) -> None:
    other = AuditedDatabase(log.adapter, tmp_path / "other")
    other.write(*(f"s{number}" for number in range(12)))
    other.sign()
    other.key, other.witness, own = log.key, log.witness, other.key
    assert [fault.seq for fault in other.verify().faults] == [1, 12, 5, 9]
    seq, text = first_fault(other)
    assert seq == 1
    assert text.startswith("row 5 is not the one that was signed")
    with pytest.raises(ChainBroken):
        other.sign()
    # With the other key's word, too, the witness tells.
    other.key = own
    assert other.verify(own, log.key).faults[0].seq == 1


def test_checkpoints_that_were_forged(log: AuditedDatabase, tmp_path: Path) -> None:
    rewrite(log, innocent, 8)
    ((hash,),) = log.query("SELECT hash FROM audit_events WHERE seq = 9")
    log.by_hand("UPDATE audit_checkpoints SET hash = :hash WHERE seq = 9", hash=bytes(hash).hex())
    faults = [fault.text for fault in log.verify().faults]
    assert faults[0].startswith("row 9 is not the one that was signed"), "by the witness"
    assert "a checkpoint of row 9 in the database bears no signature of a key that was given" in faults
    other = KeyFile(tmp_path / "other.pem", make=True)
    forged = other.sign(AuditHead(9, bytes(hash)), 1)
    log.by_hand(
        "UPDATE audit_checkpoints SET hash = :hash, at = 1, key = :key, signature = :signature WHERE seq = 9",
        **{name: getattr(forged, name) for name in ("hash", "key", "signature")},
    )
    log.witness.unlink()
    WitnessFile(log.witness).append([forged])
    faults = [fault.text for fault in log.verify().faults]
    assert "a checkpoint of row 9 in the witness bears no signature of a key that was given" in faults
    assert "the checkpoint of row 5 in the database is gone from the witness" in faults


def test_a_witness_that_is_not_there(log: AuditedDatabase) -> None:
    (fault,) = log.verify(witness=False).faults
    assert fault.text == "there is no witness: nothing outside the database says what stood in it"


def test_checkpoints_that_were_taken_out_of_the_database(log: AuditedDatabase) -> None:
    log.sign()
    for seq in (12, 5):
        log.by_hand(f"DELETE FROM audit_checkpoints WHERE seq = {seq}")
        text = f"the checkpoint of row {seq} in the witness is gone from the database"
        assert text in [fault.text for fault in log.verify().faults]
        log.write("more")
        with pytest.raises(ChainBroken, match=f"row {seq}, which the witness has, is gone"):
            log.sign()


def test_a_history_written_anew_by_who_has_all_but_the_key(log: AuditedDatabase) -> None:
    rewrite(log, innocent)
    log.by_hand("DELETE FROM audit_checkpoints")
    log.witness.write_text("")
    assert [fault.text for fault in log.verify().faults] == [
        "the witness remembers nothing",
        "no checkpoint vouches for any row, and the key has signed before: all may have been written anew",
    ]
    for there in (True, False):
        if not there:
            log.witness.unlink()
            assert len(log.verify(witness=False).faults) == 2
        with pytest.raises(ChainBroken, match="remembers nothing, and its key has signed before"):
            log.sign()
        assert log.query("SELECT COUNT(*) FROM audit_checkpoints") == [(0,)]
    log.accept()
    assert log.verify().faults == ()


def test_a_witness_that_is_empty_is_filled_when_the_operator_says_so(log: AuditedDatabase) -> None:
    before = log.witness.read_text()
    log.witness.write_text("")
    for _ in range(2):
        with pytest.raises(ChainBroken, match="remembers nothing, and the database has checkpoints of this key"):
            log.sign()
    assert log.witness.read_text() == ""
    log.accept()
    assert log.verify().faults == ()
    assert log.witness.read_text().startswith(before)
    assert len(log.witness.read_text().splitlines()) == 3
    log.write("more")
    log.sign()
    assert log.verify().faults == ()


def test_a_backup_is_accepted_and_the_old_witness_stays(log: AuditedDatabase) -> None:
    """What the witness has of rows that the database never saw again is put aside, and nothing of it lost."""
    log.sign()
    cut(log, 9)
    log.by_hand("DELETE FROM audit_checkpoints WHERE seq > 9")
    before = log.witness.read_bytes()
    log.write("since")
    with pytest.raises(ChainBroken):
        log.sign()
    log.accept()
    assert log.verify().faults == ()
    (aside,) = log.folder.glob("audit-witness.jsonl.until-*")
    assert aside.read_bytes() == before


def test_what_contradicts_itself_is_not_accepted(log: AuditedDatabase) -> None:
    rewrite(log, innocent, 8)
    before = log.witness.read_bytes()
    with pytest.raises(ChainBroken, match="row 9 of the audit log is not the one that was signed"):
        log.accept()
    log.by_hand("DELETE FROM audit_checkpoints", "DELETE FROM audit_events WHERE seq = 3")
    with pytest.raises(ChainBroken, match="row 4 of the audit log does not follow on row 2"):
        log.accept()
    assert log.witness.read_bytes() == before
    assert len(list(log.folder.iterdir())) >= 2


def test_a_witness_that_a_crash_left_behind_catches_up(log: AuditedDatabase) -> None:
    """Between the database's commit and the witness's line; and in the middle of a line."""
    lines = log.witness.read_text().splitlines(keepends=True)
    log.witness.write_text(lines[0] + lines[1][:40])
    assert log.verify().faults == ()
    log.sign()
    assert log.verify().faults == ()
    found = log.witness.read_text().splitlines(keepends=True)
    assert found[:3] == [lines[0], lines[1][:40] + "\n", lines[1]]
    assert len(found) == 4


def test_no_witness_and_no_rows_is_told(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    log.sign()
    assert not log.witness.exists()
    assert not log.key.exists()
    KeyFile(log.key, make=True).public()
    assert len(log.verify(witness=False).faults) == 1


@every_adapter
def test_two_processes_with_one_key_and_witnesses_of_their_own(adapter: str, tmp_path: Path) -> None:
    log = AuditedDatabase(adapter, tmp_path)
    first, second = log.witness, tmp_path / "second.jsonl"
    log.write("a")
    log.sign()
    log.witness = second
    log.write("b")
    with pytest.raises(ChainBroken):
        log.sign()
    log.accept()
    assert len(second.read_text().splitlines()) == 2
    log.witness = first
    log.sign()
    assert first.read_text() == second.read_text()
    assert log.verify().faults == ()


def test_two_processes_with_keys_of_their_own(tmp_path: Path) -> None:
    log = AuditedDatabase("sqlite", tmp_path)
    first = log.key, log.witness
    second = tmp_path / "second.pem", tmp_path / "second.jsonl"
    log.write("a")
    log.sign()
    log.key, log.witness = second
    log.sign()
    log.write("b")
    log.sign()
    assert [line.split(",")[0] for line in second[1].read_text().splitlines()] == ['{"seq":1', '{"seq":2']
    log.witness.write_text(first[1].read_text() + second[1].read_text())
    assert log.verify(first[0], second[0]).faults == ()
    assert len(log.verify(second[0]).faults) == 2, "the other key is not trusted"
