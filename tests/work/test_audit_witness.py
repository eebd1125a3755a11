"""A witness that somebody has laid hands on, beside a database that nobody has touched."""

from pathlib import Path

import pytest

from tests.audited import AuditedDatabase, a_signed_log


@pytest.fixture
def log(tmp_path: Path) -> AuditedDatabase:
    """Twelve rows, signed at the fifth and the ninth."""
    return a_signed_log("sqlite", tmp_path)


GONE = "the checkpoint of row {} in the database is gone from the witness"


def test_a_witness_that_forgot(log: AuditedDatabase) -> None:
    log.sign()
    lines = log.witness.read_text().splitlines(keepends=True)
    for kept, gone in (([1, 2], [5]), ([0, 2], [9]), ([0, 1], []), ([0], [9]), ([1], [5]), ([2], [5, 9])):
        log.witness.write_text("".join(lines[place] for place in kept))
        assert [fault.text for fault in log.verify().faults] == [GONE.format(seq) for seq in gone], kept
    log.witness.write_text("")
    assert [fault.text for fault in log.verify().faults] == [
        "the witness remembers nothing, and the database has checkpoints"
    ]


def test_a_witness_with_garbage_in_it(log: AuditedDatabase) -> None:
    lines = log.witness.read_text().splitlines(keepends=True)
    for garbage in ("garbage\n", "{}\n", lines[1].replace('"seq":9', '"seq":"9"')):
        log.witness.write_text(lines[0] + garbage)
        assert [fault.text for fault in log.verify().faults] == [
            "line 2 of the witness is no checkpoint, nor what a crash has left of one"
        ]
    log.witness.write_text(lines[0] + lines[1][:40] + "\0\0")
    assert log.verify().faults == ()
