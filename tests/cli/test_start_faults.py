"""What a start says of what it stands on and cannot reach, and of models that cannot answer."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import everloom
from tests.postgres import fresh_database
from tests.servers import Everloom


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that takes no connection, and that nobody else is given meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_database_that_is_not_there_is_named(tmp_path: Path, nobody: int) -> None:
    done = everloom(tmp_path, "serve", "--port", "0", database=f"postgresql://me:secret@127.0.0.1:{nobody}/mine")
    assert done.returncode == 1
    place = f"the database at 127.0.0.1:{nobody}/mine (EVERLOOM_DATABASE) cannot be opened: "
    assert done.stderr.startswith(f"everloom: cannot start: {place}")
    assert "refused" in done.stderr
    assert "secret" not in done.stderr


def test_a_database_that_lets_nobody_in_is_named(tmp_path: Path) -> None:
    there = fresh_database()
    missing = there.rpartition("/")[0] + "/not_there"
    done = everloom(tmp_path, "serve", "--port", "0", database=missing)
    assert done.returncode == 1
    assert "/not_there (EVERLOOM_DATABASE) cannot be opened: " in done.stderr
    assert "does not exist" in done.stderr


def test_models_that_cannot_answer_are_told_at_once(tmp_path: Path, nobody: int) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        '[aliases]\n"gpt-4o" = "nothing"\n"o1*" = "smollm2-135m"\nchained = "o1-mini"\n\n'
        '[[models]]\nid = "mine"\nbackend = "local"\npath = "nowhere.gguf"\n\n'
        f'[[models]]\nid = "far"\nbackend = "upstream"\nbase_url = "http://127.0.0.1:{nobody}/v1"\n'
    )
    with Everloom(tmp_path, arguments=("--config", str(file))) as server:
        deadline = time.monotonic() + 20
        while sum(" WARNING everloom.app.start_faults: " in line for line in server.output) < 4:
            assert time.monotonic() < deadline, server.output
            time.sleep(0.05)
        told = "".join(server.output)
    assert "the alias gpt-4o leads to nothing, which nobody serves" in told
    assert "the alias chained leads to o1-mini, which nobody serves" in told
    assert "o1*" not in told
    assert "the model mine cannot be used: " in told
    assert f"the upstream 127.0.0.1:{nobody} (the [[models]] table of far) does not answer: " in told
