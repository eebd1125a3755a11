"""The key that signs: made once, for its owner's eyes, and told apart from every other."""

import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from everloom.evidence.keys import KeyFile, PublicKey
from everloom.objects.audit import AuditHead, Checkpoint

HEAD = AuditHead(7, bytes(range(32)))


def test_a_key_is_made_at_its_first_use(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "key.pem"
    key = KeyFile(path, make=True)
    assert not path.exists()
    checkpoint = key.sign(HEAD, 1_750_000_000)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(each.name for each in path.parent.iterdir()) == ["key.pem", "key.pem.unused"]
    assert (checkpoint.seq, checkpoint.hash, checkpoint.at) == (7, HEAD.hash.hex(), 1_750_000_000)
    again = KeyFile(path, make=True)
    assert again.sign(HEAD, 1_750_000_000) == checkpoint
    assert again.has_signed(checkpoint)


def test_a_key_that_is_to_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        KeyFile(tmp_path / "key.pem", make=False).sign(HEAD, 1)


def test_a_signature_is_over_all_that_a_checkpoint_says(tmp_path: Path) -> None:
    key, other = KeyFile(tmp_path / "key.pem", make=True), KeyFile(tmp_path / "other.pem", make=True)
    checkpoint = key.sign(HEAD, 5)
    changes = ({"seq": 8}, {"hash": "00" * 32}, {"at": 6}, {"key": "0" * 32}, {"signature": "00"}, {"signature": "no"})
    for change in changes:
        assert not key.has_signed(msgspec.structs.replace(checkpoint, **change)), change
    assert not other.has_signed(checkpoint)
    assert not other.has_signed(msgspec.structs.replace(checkpoint, key=other.public().fingerprint))


def test_public_halves_are_read_from_either_file(tmp_path: Path) -> None:
    key = KeyFile(tmp_path / "key.pem", make=True)
    checkpoint: Checkpoint = key.sign(HEAD, 5)
    (tmp_path / "public.pem").write_text(key.public().pem)
    for path in (tmp_path / "key.pem", tmp_path / "public.pem"):
        assert PublicKey.read(path).has_signed(checkpoint)


_SIGN = (
    "import sys, pathlib; from everloom.evidence.keys import KeyFile\n"
    "print(KeyFile(pathlib.Path(sys.argv[1]), make=True).public().fingerprint)"
)


def test_processes_that_start_together_make_one(tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", _SIGN, str(tmp_path / "key.pem")], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({each.communicate(timeout=60)[0] for each in started}) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["key.pem", "key.pem.unused"], "and no drafts"
