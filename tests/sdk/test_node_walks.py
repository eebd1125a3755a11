"""The same conversations by openai-node, then and now."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fine_tuning import BASE
from tests.offers import serve_all
from tests.scripted import ScriptedUpstream
from tests.sdk import rules
from tests.sdk.node import NODE_FIRST, NODE_NEWEST, NodeSdk, folder_of, programs
from tests.sdk.test_walks import ALIASES, BATCHES, DEFAULT_MODEL, tuning
from tests.servers import ADMIN_KEY, API_KEY, Everloom
from tests.weights import default_gguf

WALKS = Path(__file__).parent / "walks_node"
SECONDS = 240.0


@pytest.fixture(autouse=True)
def _model(upstream: ScriptedUpstream) -> None:
    upstream.rule(rules.answer)
    serve_all(upstream)


def walk(name: str, sdk: NodeSdk, server: Everloom, folder: Path, model: str = "gpt-4o") -> list[str]:
    """Run a walk to its end; the lines it printed. Programs find the SDK in a folder beside them."""
    shutil.copytree(WALKS, folder, dirs_exist_ok=True)
    (folder / "node_modules").symlink_to(folder_of(sdk) / "node_modules")
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    environment = {variable: os.environ[variable] for variable in kept if variable in os.environ}
    environment |= {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": API_KEY, "OPENAI_ADMIN_KEY": ADMIN_KEY}
    environment |= {"WALK_MODEL": model, "WALK_SDK": sdk.name, "WALK_TUNED_BASE": BASE, "NODE_NO_WARNINGS": "1"}
    node, _ = programs()
    ended = subprocess.run(
        [node, str(folder / f"{name}.mjs")],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, f"{name} with {sdk}:\n{ended.stdout}\n{ended.stderr}\nserver:\n{server.output[-20:]}"
    return ended.stdout.splitlines()


@pytest.mark.parametrize("sdk", [NODE_FIRST, NODE_NEWEST], ids=str)
def test_assistants(sdk: NodeSdk, each_server: Everloom, tmp_path: Path) -> None:
    said = walk("assistants", sdk, each_server, tmp_path)
    assert said == ["ok a run and its steps", "ok a stream", "ok deletions and refusals"]


SECTIONS = (
    *("projects", "invites", "users", "project users", "service accounts", "project keys", "admin keys"),
    *("usage", "costs", "file search calls", "web search calls"),
    *("rate limits", "audit logs", "spend limits", "spend alerts", "model permissions", "ends"),
)


def test_the_organization(each_server: Everloom, tmp_path: Path) -> None:
    said = walk("organization", NODE_NEWEST, each_server, tmp_path)
    assert said == [f"ok {what}" for what in SECTIONS]


@pytest.mark.parametrize("sdk", [NODE_FIRST, NODE_NEWEST], ids=str)
def test_batches(sdk: NodeSdk, each_server: Everloom, tmp_path: Path) -> None:
    assert walk("batches", sdk, each_server, tmp_path) == (BATCHES[:-1] if sdk is NODE_FIRST else BATCHES)


@pytest.mark.parametrize("sdk", [NODE_FIRST, NODE_NEWEST], ids=str)
def test_fine_tuning(sdk: NodeSdk, each_server: Everloom, tmp_path: Path) -> None:
    assert walk("fine_tuning", sdk, each_server, tmp_path) == tuning(pauses=sdk is NODE_NEWEST)


def test_endpoints(server: Everloom, tmp_path: Path) -> None:
    said = walk("endpoints", NODE_NEWEST, server, tmp_path)
    expected = ["chat", "stored completions", "completions", "embeddings", "moderations", "speech", "transcriptions"]
    assert said == [f"ok {what}" for what in [*expected, "images", "models"]]


def test_the_endpoints_on_the_models_in_the_box(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with Everloom(tmp_path / "data", weights=default_gguf().parent, aliases=ALIASES) as server:
        said = walk("endpoints", NODE_NEWEST, server, tmp_path / "walk", DEFAULT_MODEL)
    expected = ["chat", "stored completions", "completions", "embeddings", "moderations", "speech", "transcriptions"]
    assert said == [f"ok {what}" for what in [*expected, "models"]]
