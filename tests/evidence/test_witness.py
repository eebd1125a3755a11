"""The witness: appended to, durable, and whole whatever has cut it off."""

import stat
import threading
from pathlib import Path

from everloom.evidence.witness import WitnessFile, read_witness
from everloom.objects.audit import Checkpoint


def a_checkpoint(seq: int) -> Checkpoint:
    return Checkpoint(seq=seq, hash="ab" * 32, at=seq, key="cd" * 16, signature="ef" * 64)


def test_what_is_appended_is_remembered_in_order(tmp_path: Path) -> None:
    witness = WitnessFile(tmp_path / "folder" / "witness.jsonl")
    assert witness.last() is None
    witness.append([])
    assert witness.last() is None
    witness.append([a_checkpoint(1), a_checkpoint(5)])
    witness.append([a_checkpoint(5), a_checkpoint(3), a_checkpoint(9)])
    assert witness.last() == a_checkpoint(9)
    path = tmp_path / "folder" / "witness.jsonl"
    assert read_witness(path) == ([a_checkpoint(seq) for seq in (1, 5, 3, 9)], {})
    assert witness.all() == read_witness(path)[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_that_was_cut_off_is_none(tmp_path: Path) -> None:
    path = tmp_path / "witness.jsonl"
    witness = WitnessFile(path)
    witness.append([a_checkpoint(seq) for seq in range(1, 60)])
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 100, 100, 1):
        path.write_bytes(whole[:length])
        kept = whole[:length].count(b"\n")
        if length == len(whole) - 1:
            kept += 1  # All of it but the newline.
        last = witness.last()
        assert (last.seq if last else 0) == kept
        witness.append([a_checkpoint(seq) for seq in range(1, 61)])
        found, illegible = read_witness(path)
        assert [each.seq for each in found] == list(range(1, 61))
        assert list(illegible) == ([] if length == len(whole) - 1 else [kept + 1])


def test_noise_at_the_end_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "witness.jsonl"
    witness = WitnessFile(path)
    witness.append([a_checkpoint(4)])
    with path.open("ab") as file:
        file.write(b"\xff" * 10_000 + b"\n\n\n{}\n")
    assert witness.last() == a_checkpoint(4)
    witness.append([a_checkpoint(4), a_checkpoint(6)])
    assert [each.seq for each in read_witness(path)[0]] == [4, 6]


def test_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "witness.jsonl"

    def write() -> None:
        for seq in range(1, 50):
            WitnessFile(path).append([a_checkpoint(each) for each in range(1, seq + 1)])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.seq for each in read_witness(path)[0]] == list(range(1, 50))


def test_a_witness_is_begun_anew_and_the_old_one_stays(tmp_path: Path) -> None:
    witness = WitnessFile(tmp_path / "witness.jsonl")
    witness.begin()
    for seq in (1, 2):
        witness.append([a_checkpoint(seq)])
        witness.begin()
        assert (witness.last(), witness.all()) == (None, [])
    assert [read_witness(path)[0] for path in sorted(tmp_path.iterdir())] == [[a_checkpoint(1)], [a_checkpoint(2)]]
