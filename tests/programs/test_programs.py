"""Programs and libraries that people run against the platform, unchanged, against a server on the scripted upstream.

Each is a short real program in ``programs/``, which reads the address and the key from the variables that its library
reads. It says ``ok`` to each thing that worked.
"""

import gzip
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloom.models.files.weights import CL100K
from tests.programs import rules
from tests.programs.environments import BEFORE_1_0, LANGCHAIN_0_1, NEWEST, OF_2024, PLAIN
from tests.scripted import ScriptedUpstream
from tests.sdk.environments import Sdk, python_of
from tests.servers import API_KEY, Everloom
from tests.weights import default_weights

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 240.0
"""Far more than a program takes on two busy cores, most of it to import its library."""

TIKTOKEN_NAME = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""What tiktoken calls cl100k_base in its cache: without it there it would ask the network."""

LACKING = "No matching distribution found"
"""What pip says of a package that its index has not."""

pytestmark = pytest.mark.programs
needs_sandbox = pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here")


@pytest.fixture(scope="module")
def aliased(_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server whose own model stands in for OpenAI's embedding models."""
    folder = tmp_path_factory.mktemp("programs")
    settings = {"upstream": _upstream.url, "aliases": "text-embedding-*=all-minilm-l6-v2"}
    with Everloom(folder, weights=default_weights().folder, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which tiktoken finds what it would fetch."""
    folder = tmp_path_factory.mktemp("tiktoken")
    [path] = default_weights().fetch(CL100K)
    (folder / TIKTOKEN_NAME).write_bytes(gzip.decompress(path.read_bytes()))
    return folder


@pytest.mark.parametrize(
    ("name", "sdk", "expected"),
    [
        ("legacy_sdk", BEFORE_1_0, ["chat", "engines", "files", "errors"]),
        ("langchain_old", LANGCHAIN_0_1, ["an agent", "an assistant", "retrieval", "chat"]),
        ("langchain_new", NEWEST, ["an agent", "an assistant", "chat", "a stream", "tools"]),
        ("langchain_embeddings", NEWEST, ["documents", "nearness", "dimensions"]),
        ("langchain_embeddings", LANGCHAIN_0_1, ["documents", "nearness", "dimensions"]),
        ("semantic_kernel_agent", NEWEST, ["a thread", "a plugin", "a stream"]),
        ("azure_agents", NEWEST, ["a run", "functions", "a stream", "file search", "deletions"]),
        ("marvin_assistant", OF_2024, ["an assistant", "a tool"]),
        ("agency", OF_2024, ["an agency", "a tool", "a stream"]),
        ("autogen_agent", OF_2024, ["a chat", "a function", "deletions"]),
        ("line_pairs", PLAIN, ["pairs", "one stream after another"]),
        pytest.param("chainlit_handler", PLAIN, ["text", "citations", "pictures and files"], marks=needs_sandbox),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value) if isinstance(value, Sdk) else "",
)
def test_program(
    name: str,
    sdk: Sdk,
    expected: list[str],
    aliased: Everloom,
    upstream: ScriptedUpstream,
    vocabulary: Path,
    tmp_path: Path,
) -> None:
    python = _python_of(sdk)
    upstream.rule(rules.answer)
    kept = ("PATH", "LANG", "SSL_CERT_FILE", "TMPDIR")
    environment = {variable: os.environ[variable] for variable in kept if variable in os.environ}
    environment |= {"OPENAI_BASE_URL": aliased.url, "OPENAI_API_BASE": aliased.url, "OPENAI_API_KEY": API_KEY}
    environment |= {"HOME": str(tmp_path), "TIKTOKEN_CACHE_DIR": str(vocabulary), "PYTHONWARNINGS": "ignore"}
    environment["MARVIN_CHAT_COMPLETIONS_MODEL"] = "gpt-4"  # whose vocabulary is the one in the cache
    ended = subprocess.run(
        [str(python), "-B", str(PROGRAMS / f"{name}.py")],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    said = re.findall(r"(?:^|╯)ok (.+)$", ended.stdout, re.MULTILINE)  # Marvin's boxes end without a new line
    shown = f"{name} with {sdk}:\n{ended.stdout[-4000:]}\n{ended.stderr[-8000:]}\nserver:\n{aliased.output[-20:]}"
    assert ended.returncode == 0, shown
    assert said == expected, shown


def _python_of(sdk: Sdk) -> Path:
    """Its Python; skips where the package index has not what it takes."""
    try:
        return python_of(sdk)
    except AssertionError as error:
        if LACKING in str(error):
            pytest.skip(str(error)[-300:])
        raise
