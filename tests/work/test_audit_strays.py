"""Rows that no chain would have, and what nobody can read: told by ``verify``, and shown as what they are."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from everloom.evidence.syslog import SyslogSink
from everloom.objects.audit import AuditQuery
from everloom.objects.base import JsonObject
from everloom.store.base import Database
from everloom.work.organization import audit_logs, audit_sinks
from everloom.work.organization.checkpoints import ChainBroken
from tests.audited import AuditedDatabase, a_signed_log
from tests.receivers import SyslogTcp

COLUMNS = "type, effective_at, project_id, key_id, actor_id, actor_email, resource_id, body, hash"


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> AuditedDatabase:
    """Twelve rows, signed at the fifth and the ninth."""
    return a_signed_log(request.param, tmp_path)


@pytest.fixture
def sqlite_log(tmp_path: Path) -> AuditedDatabase:
    """The same, where a column holds whatever it is given."""
    return a_signed_log("sqlite", tmp_path)


def faults(log: AuditedDatabase) -> list[str]:
    return [fault.text for fault in log.verify().faults]


def listed(log: AuditedDatabase, **query: Any) -> list[JsonObject]:
    async def look(database: Database) -> list[JsonObject]:
        return (await audit_logs.list_audit_logs(database.audit, AuditQuery(limit=100, **query))).decode()

    return log.run(look)


def exported(log: AuditedDatabase) -> list[JsonObject]:
    async def look(database: Database) -> list[JsonObject]:
        return [audit_logs.export_form(row) async for row in audit_logs.all_rows(database.audit)]

    return log.run(look)


@pytest.mark.parametrize("seq", [0, -5, -(2**63)])
def test_rows_before_the_first(log: AuditedDatabase, seq: int) -> None:
    log.by_hand(
        f"INSERT INTO audit_events (seq, id, {COLUMNS}) SELECT {seq}, 'audit_log-fake', {COLUMNS} FROM audit_events"
        " WHERE seq = 10"
    )
    assert faults(log) == ["1 rows stand before row 1, where the chain has none: they were put in"]
    assert len(listed(log)) == 12
    assert len(listed(log, resource_ids=("r10",))) == 1
    assert len(listed(log, types=("project.updated",), actor_ids=("operator",))) == 12
    assert len(exported(log)) == 12


def test_two_rows_of_one_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its key was taken off the table, and the second lies where what is read at once ends."""
    log = a_signed_log("postgresql", tmp_path)
    with psycopg.connect(log.where) as connection:
        connection.execute("ALTER TABLE audit_events DROP CONSTRAINT audit_events_pkey")
    log.by_hand(
        f"INSERT INTO audit_events (seq, id, {COLUMNS}) SELECT seq, 'audit_log-fake', {COLUMNS} FROM audit_events"
        " WHERE seq = 6"
    )
    monkeypatch.setattr(audit_logs, "ROWS_AT_ONCE", 6)
    (text,) = faults(log)
    assert text == "row 6 was changed: its columns (id) are not what it says" or text.startswith("13 rows stand where")


def test_an_index_that_leaves_a_row_out(sqlite_log: AuditedDatabase) -> None:
    log = sqlite_log
    with contextlib.closing(sqlite3.connect(log.where, isolation_level=None)) as file:
        name = "ix_audit_events_resource_id"
        ((whole,),) = file.execute("SELECT sql FROM sqlite_master WHERE name = ?", [name]).fetchall()
        file.execute(f"DROP INDEX {name}")
        file.execute(f"{whole} WHERE seq <> 10")
        file.execute("PRAGMA writable_schema = ON")
        file.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", [whole, name])
        file.execute("PRAGMA writable_schema = RESET")
    assert listed(log, resource_ids=("r10",)) == []
    found = faults(log)
    assert found[0] == (
        "the database finds its rows no more by its indexes: row 10 missing from index ix_audit_events_resource_id"
    )


@pytest.mark.parametrize(
    "value",
    [
        "replace(body, 'r8', 'zz')",
        "x'00'",
        "CAST(x'ff' AS TEXT)",
        "12",
        "CAST(replace(body, '\"effective_at\":', '\"effective_at\":9999999999999') AS BLOB)",
    ],
)
def test_a_body_that_nobody_can_read(sqlite_log: AuditedDatabase, value: str) -> None:
    log = sqlite_log
    log.by_hand(f"UPDATE audit_events SET body = {value} WHERE seq = 8")
    assert faults(log) == ["row 8 was changed: nobody can read it"]
    ((id,),) = log.query("SELECT id FROM audit_events WHERE seq = 8")
    (event,) = listed(log, resource_ids=("r8",))
    assert event["illegible"]
    assert (event["id"], event["project.updated"]) == (id, {"id": "r8"})
    assert len(listed(log)) == 12
    assert [each.get("illegible", False) for each in exported(log)] == [False] * 7 + [True] + [False] * 4
    receiver = SyslogTcp()
    sink = SyslogSink(receiver.url)
    log.run(lambda database: audit_sinks.sweep(log.ports(database, sink)))
    receiver.close()
    assert [each["chain"]["seq"] for each in receiver.events] == list(range(1, 13))


@pytest.mark.parametrize("column", ["id", "type", "resource_id", "effective_at", "hash"])
@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "x'ff00'", "CAST({0} AS BLOB)", "1.5"])
def test_columns_of_other_types(sqlite_log: AuditedDatabase, column: str, value: str) -> None:
    """A blob that has the letters of a text is found by no filter."""
    log = sqlite_log
    log.by_hand(f"UPDATE audit_events SET {column} = {value.format(column)} WHERE seq = 11")
    if (column, value) == ("hash", "CAST({0} AS BLOB)"):
        assert faults(log) == []
        return
    (text,) = faults(log)
    assert text.startswith("row 11 was changed")
    assert len(listed(log)) == 12
    assert len(exported(log)) == 12


def test_what_nobody_can_read_is_not_signed(sqlite_log: AuditedDatabase) -> None:
    sqlite_log.by_hand("UPDATE audit_events SET body = CAST(body AS TEXT) WHERE seq = 11")
    with pytest.raises(ChainBroken, match="row 11 of the audit log"):
        sqlite_log.sign()


@pytest.mark.parametrize("change", ["hash = 'text'", "hash = CAST(x'ff' AS TEXT)", "seq = 'many'", "seq = x'01'"])
def test_an_end_of_other_types(sqlite_log: AuditedDatabase, change: str) -> None:
    sqlite_log.by_hand(f"UPDATE audit_heads SET {change}")
    assert len(faults(sqlite_log)) == 1
    with pytest.raises(RuntimeError, match="the audit log's end is gone"):
        sqlite_log.write("more")
    with pytest.raises(ChainBroken):
        sqlite_log.sign()


@pytest.mark.parametrize("column", ["seq", "hash", "at", "key", "signature"])
@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "x'ff00'"])
def test_checkpoints_of_other_types(sqlite_log: AuditedDatabase, column: str, value: str) -> None:
    sqlite_log.by_hand(f"UPDATE audit_checkpoints SET {column} = {value} WHERE seq = 5")
    found = faults(sqlite_log)
    assert any("bears no signature of a key that was given" in text for text in found)
    assert "the checkpoint of row 5 in the witness is gone from the database" in found
