"""Programs as users wrote them, run against the real server by the SDKs of then and of now, as strict as they go."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloom.objects.runs import EndedLog
from everloom.store.base import Database
from everloom.work.runs.compaction import compact
from tests.fine_tuning import BASE
from tests.offers import serve_all
from tests.replies import text_of
from tests.scripted import Request, ScriptedUpstream
from tests.sdk import rules
from tests.sdk.environments import ALL, FIRST, NEWEST, OF_DECEMBER_2024, SDKS, Sdk, python_of
from tests.servers import ADMIN_KEY, API_KEY, ROOT, Everloom
from tests.store.databases import opened
from tests.weights import default_gguf

WALKS = Path(__file__).parent / "walks"
SECONDS = 240.0
"""Far more than a walk takes on two busy cores; a walk that hangs must end some time."""

DEFAULT_MODEL = "smollm2-135m"


@pytest.fixture(autouse=True)
def _model(upstream: ScriptedUpstream) -> None:
    upstream.rule(rules.answer)
    serve_all(upstream)


def walk(name: str, sdk: Sdk, server: Everloom, model: str = "gpt-4o", *arguments: str, **variables: str) -> list[str]:
    """Run a walk to its end; the lines it printed."""
    kept = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "TMPDIR")
    environment = {variable: os.environ[variable] for variable in kept if variable in os.environ}
    environment |= {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": API_KEY}
    environment |= {"OPENAI_ADMIN_KEY": ADMIN_KEY, "WALK_MODEL": model, "WALK_TUNED_BASE": BASE} | variables
    ended = subprocess.run(
        [str(python_of(sdk)), "-B", str(WALKS / f"{name}.py"), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, f"{name} with {sdk}:\n{ended.stdout}\n{ended.stderr}\nserver:\n{server.output[-20:]}"
    return ended.stdout.splitlines()


@pytest.mark.parametrize("sdk", SDKS, ids=str)
@pytest.mark.parametrize(
    "name", ["basics", "streaming", "functions", "pages", "errors", "files", "chat", "together", "moderations"]
)
def test_walk(name: str, sdk: Sdk, each_server: Everloom, upstream: ScriptedUpstream) -> None:
    said = walk(name, sdk, each_server)
    assert said
    assert all(line.startswith("ok ") for line in said), said


@pytest.mark.parametrize("name", ["basics", "streaming", "functions", "pages", "errors", "chat"])
def test_walk_of_december_2024(name: str, server: Everloom) -> None:
    """By the SDK of the month whose reference we follow."""
    assert all(line.startswith("ok ") for line in walk(name, OF_DECEMBER_2024, server))


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_walk_of_the_endpoints(sdk: Sdk, each_server: Everloom) -> None:
    said = walk("endpoints", sdk, each_server)
    expected = ["completions", "embeddings", "moderations", "speech", "transcriptions", "images", "deleting models"]
    assert said == [f"ok {what}" for what in [*expected, *(["stored completions"] if sdk is NEWEST else [])]]


BATCHES = ["ok a batch", "ok its files", "ok refusals", "ok cancelling", "ok lists"]


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_walk_of_batches(sdk: Sdk, each_server: Everloom) -> None:
    assert walk("batches", sdk, each_server) == (BATCHES[:-1] if sdk is FIRST else BATCHES)


def tuning(*, pauses: bool) -> list[str]:
    """What the walk of fine-tuning says; older SDKs cannot pause."""
    parts = ["a job", "events and results", "checkpoints", "refusals", "cancelling"]
    return [f"ok {part}" for part in (*parts, *(["pausing"] if pauses else []), "lists", "a tuned model")]


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_walk_of_fine_tuning(sdk: Sdk, each_server: Everloom) -> None:
    assert walk("fine_tuning", sdk, each_server) == tuning(pauses=sdk is NEWEST)


def test_the_example_of_the_guide(server: Everloom, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """docs/batches.md, word for word but for the model, which is no less the caller's choice."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "batches.md").read_text(), re.DOTALL)
    assert example.count('"smollm2-135m"') == 1
    (tmp_path / "example.py").write_text(example.replace('"smollm2-135m"', '"gpt-4o"'))
    ended = subprocess.run(
        [str(python_of(NEWEST)), "-B", str(tmp_path / "example.py")],
        env={"PATH": os.environ["PATH"], "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": API_KEY},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    first, *answers = ended.stdout.splitlines()
    assert first == "completed 2 of 2"
    assert sorted(answers) == [
        "france You said: What is the capital of France?",
        "norway You said: What is the capital of Norway?",
    ]


def test_walk_of_uploads(each_server: Everloom) -> None:
    """By the newest SDK alone: the first one is older than they are."""
    assert len(walk("uploads", NEWEST, each_server)) == 5


def test_walk_of_the_organization(each_server: Everloom) -> None:
    """By the newest SDK alone, which is the first with ``client.admin``."""
    said = walk("organization", NEWEST, each_server)
    things = ["projects", "invites", "users", "project users", "service accounts", "project keys", "admin keys"]
    assert said == [f"ok {what}" for what in (*things, "audit logs", "ends")]


def test_walk_of_the_rules(each_server: Everloom) -> None:
    said = walk("rules", NEWEST, each_server)
    things = ["rate limits", "model permissions", "spend limits", "spend alerts", "newest fields"]
    assert said == [f"ok {what}" for what in things]


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_compacted_logs_rebuild_the_same(sdk: Sdk, server: Everloom) -> None:
    """By the accumulators of each SDK; the logs are compacted beside the server, as another worker does."""
    seen = walk("compacted", sdk, server, "gpt-4o", "begin")
    assert len(seen) == 2

    async def compact_all(database: Database) -> None:
        for project, ended in await database.across(EndedLog, waiting=True):
            if any(ended.id in line for line in seen):
                await compact(database.store(project), ended.id)

    asyncio.run(opened(str(server.data / "everloom.db"), compact_all))
    assert walk("compacted", sdk, server, "gpt-4o", "again", WALK_SEEN="\n".join(seen)) == ["ok replayed"] * 2


@pytest.mark.parametrize("sdk", SDKS, ids=str)
def test_cancelling_stops_the_model(sdk: Sdk, each_server: Everloom, upstream: ScriptedUpstream) -> None:
    said = walk("cancelling", sdk, each_server)
    assert {"ok cancelled in its stream", "ok cancelled by polling"} <= set(said)
    # A cancel that only marks the run would leave the model talking, and somebody paying for it.
    assert upstream.wait(lambda: len(upstream.disconnects) == 2 and upstream.active == 0), _last_words(upstream)
    assert sorted(_last_word(request) for request in upstream.disconnects) == ["a slow poem", "begin and hang"]


def _last_word(request: Request) -> str:
    return text_of(request.body["messages"][-1])


def _last_words(upstream: ScriptedUpstream) -> str:
    return f"still {upstream.active} answers, left: {[_last_word(request) for request in upstream.disconnects]}"


def test_one_object_in_both_versions(each_server: Everloom) -> None:
    assert "ok the documented default header" in walk("views", NEWEST, each_server)


def test_vector_stores(each_server: Everloom) -> None:
    """Those that the first SDK reaches are the ones behind ``retrieval`` alone."""
    said = walk("vector_stores", NEWEST, each_server)
    assert said == ["ok stores", "ok files", "ok search", "ok batches", "ok deletions"]


@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here")
@pytest.mark.parametrize("sdk", SDKS, ids=str)
def test_tools(sdk: Sdk, each_server: Everloom) -> None:
    assert walk("tools", sdk, each_server) == ["ok search", "ok code", "ok files"]


@pytest.fixture(scope="module")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server alone in the world, with the weights that come with the install; they are fetched once and kept."""
    with Everloom(tmp_path_factory.mktemp("local"), weights=default_gguf().parent) as server:
        yield server


@pytest.mark.parametrize("sdk", SDKS, ids=str)
def test_the_local_model(sdk: Sdk, local_server: Everloom) -> None:
    assert walk("local", sdk, local_server, DEFAULT_MODEL) == ["ok a run", "ok a stream", "ok chat"]


ALIASES = "*=smollm2-135m,*=all-minilm-l6-v2,*=espeak-ng,*=pocketsphinx"
"""Every name that a program asks for leads to the model in the box that does it."""


@pytest.fixture(scope="module")
def aliased_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    folder = tmp_path_factory.mktemp("aliased")
    with Everloom(folder, weights=default_gguf().parent, aliases=ALIASES) as server:
        yield server


@pytest.mark.parametrize("sdk", ALL, ids=str)
def test_the_endpoints_on_the_models_in_the_box(sdk: Sdk, aliased_server: Everloom) -> None:
    said = walk("endpoints", sdk, aliased_server, DEFAULT_MODEL)
    expected = ["completions", "embeddings", "moderations", "speech", "transcriptions", "deleting models"]
    assert said == [f"ok {what}" for what in [*expected, *(["stored completions"] if sdk is NEWEST else [])]]


def test_the_sdks_are_the_ones_meant() -> None:
    shown = {}
    for sdk in ALL:
        script = "import openai; from openai.resources.beta.threads.threads import Threads; print(openai.__version__)"
        asked = subprocess.run([str(python_of(sdk)), "-c", script], capture_output=True, text=True, check=True)
        shown[sdk.name] = asked.stdout.strip()
    assert shown[FIRST.name] == "1.20.0"
    assert shown[OF_DECEMBER_2024.name] == "1.57.4"
    assert int(shown[NEWEST.name].split(".")[0]) >= 2
