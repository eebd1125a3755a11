"""The programs of examples/, word for word, by the official SDKs on a real server, and what they print.

Most are answered by the model in the box, as for somebody who has just installed it. The two that need more than it can
do, a program written and a model trained within seconds, are answered by the scripted upstream.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fine_tuning import let_be_tuned
from tests.replies import Calls, Json, Reply, Says, text_of
from tests.scripted import ScriptedUpstream
from tests.sdk.environments import FIRST, NEWEST, python_of
from tests.sdk.node import NODE_NEWEST, folder_of, programs
from tests.servers import API_KEY, ROOT, Everloom
from tests.training.environment import python_with_finetuning
from tests.weights import default_weights

EXAMPLES = ROOT / "examples"
SECONDS = 400.0
"""Far more than an example takes on two busy cores; the real training takes a minute of it."""


def printed_by(name: str, server: Everloom, folder: Path) -> list[str]:
    """Copy an example into a folder and run it there to its end; the lines it printed."""
    program = shutil.copy(EXAMPLES / name, folder)
    if program.endswith(".mjs"):  # it finds the SDK in a folder beside it
        (folder / "node_modules").symlink_to(folder_of(NODE_NEWEST) / "node_modules")
        command = [programs()[0], program]
    else:
        command = [str(python_of(FIRST if name == "v1.py" else NEWEST)), "-B", program]
    kept = {variable: os.environ[variable] for variable in ("PATH", "HOME", "LANG", "TMPDIR") if variable in os.environ}
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**kept, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": API_KEY},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, f"{name}:\n{ended.stdout}\n{ended.stderr}\nserver:\n{server.output[-20:]}"
    return ended.stdout.splitlines()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server that nobody has set up: the models of its machine answer for the platform's names."""
    with Everloom(tmp_path_factory.mktemp("fresh"), weights=default_weights().folder) as server:
        yield server


def test_quickstart(fresh: Everloom, tmp_path: Path) -> None:
    status, step, question, answer, tokens = printed_by("quickstart.py", fresh, tmp_path)
    assert (status, step) == ("run: completed", "step: message_creation completed")
    assert question == "user: What is the capital of France?"
    assert answer.startswith("assistant: ")
    assert "Paris" in answer
    assert re.fullmatch(r"tokens: \d+ read, \d+ written", tokens)


def test_functions(fresh: Everloom, tmp_path: Path) -> None:
    waits, call, status, answer = printed_by("functions.py", fresh, tmp_path)
    assert (waits, status) == ("run: requires_action", "run: completed")
    assert call.endswith('({"city": "Bergen"}) -> The library in Bergen is open from 9:00 to 20:00.')
    assert answer.startswith("assistant: ")


def test_streaming(fresh: Everloom, tmp_path: Path) -> None:
    begins, *text, ends, run = printed_by("streaming.py", fresh, tmp_path)
    assert (begins, ends) == ("[message_creation begins]", "[message_creation completed]")
    assert "Moon" in "".join(text)
    assert re.fullmatch(r"\[run (completed|incomplete): \d+ tokens\]", run)


def test_file_search(fresh: Everloom, tmp_path: Path) -> None:
    read, best, _, answer, cited = printed_by("file_search.py", fresh, tmp_path)
    assert read == "read: 2 of 2 files"
    assert re.fullmatch(r"found: 0\.\d\d boats\.md: The oldest boat in the harbour is the Albatross\. .*", best)
    assert "Albatross" in answer
    assert cited == "cited: 【1:0†source】 boats.md"


def test_v1(fresh: Everloom, tmp_path: Path) -> None:
    assistant, status, search, message, answer, *_ = printed_by("v1.py", fresh, tmp_path)
    assert (assistant, status) == ("assistant: retrieval True", "run: completed")
    assert (search, message) == ("step: tool_calls retrieval", "step: message_creation")
    assert "Ada" in answer


def test_batch(fresh: Everloom, tmp_path: Path) -> None:
    counts, *answers = printed_by("batch.py", fresh, tmp_path)
    assert counts == "batch: completed, 3 of 3"
    assert [answer.partition(":")[0] for answer in answers] == ["France", "Japan", "Egypt"]


def test_audio(fresh: Everloom, tmp_path: Path) -> None:
    said, size, heard = printed_by("audio.py", fresh, tmp_path)
    assert said.startswith("said: ")
    assert size == f"sentence.mp3: {(tmp_path / 'sentence.mp3').stat().st_size} bytes"
    assert heard.startswith("heard: ")


def test_node(fresh: Everloom, tmp_path: Path) -> None:
    answer, status, step = printed_by("node.mjs", fresh, tmp_path)
    assert answer.startswith("assistant: ")
    assert "Paris" in answer
    assert (status, step) == ("run: completed", "step: message_creation completed")


CODE = """import pandas as pd
import matplotlib.pyplot as plt
visitors = pd.read_csv("/mnt/data/visitors.csv")
visitors.plot(x="month")
plt.show()
total = visitors["visitors"].sum()
open("/mnt/data/sum.txt", "w").write(str(total))
print(total)"""


def a_programmer(body: Json) -> Reply:
    """What a model that can write a program answers."""
    if any(message["role"] == "tool" for message in body["messages"]):
        return Says("There were 710 visitors: [sum.txt](sandbox:/mnt/data/sum.txt).")
    assert "/mnt/data/visitors.csv" in text_of(body["messages"][-1])
    return Calls(("code_interpreter", {"code": CODE}))


@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here")
def test_code_interpreter(server: Everloom, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.rule(a_programmer)
    said = printed_by("code_interpreter.py", server, tmp_path)
    assert said[0] == "run: completed"
    assert "\n".join(said[1:9]) == CODE
    shown, (picture, answer, file) = said[9:-3], said[-3:]
    assert "-> 710" in shown
    assert any(line.startswith("-> a picture, file-") for line in shown)
    assert picture.startswith("assistant: a picture of ")
    assert answer.startswith("assistant: There were 710 visitors: [sum.txt](")
    assert file == "sum.txt: 710"


def a_tuned_model(said: list[str]) -> None:
    """Assert that a model was tuned, and that both it and its base were asked."""
    *events, job, base, tuned = said
    assert events
    assert all(line.startswith("event: ") for line in events)
    assert re.fullmatch(r"job: succeeded \d+ tokens", job)
    assert base.startswith("smollm2-135m: ")
    assert re.match(r"ft:smollm2-135m:everloom:pirate:\w+: .", tuned)


def test_fine_tuning_at_an_upstream(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with Everloom(let_be_tuned(tmp_path / "data", upstream.url, "smollm2-135m")) as server:
        a_tuned_model(printed_by("fine_tuning.py", server, tmp_path))


def test_fine_tuning_on_this_machine(tmp_path: Path) -> None:
    python = python_with_finetuning()
    (tmp_path / "data").mkdir()
    with Everloom(tmp_path / "data", weights=default_weights().folder, finetune_python=python) as server:
        said = printed_by("fine_tuning.py", server, tmp_path)
    a_tuned_model(said)
    assert "Redbeard" in said[-1]


def test_the_index_names_each_example_with_its_command_and_they_are_short() -> None:
    index = (EXAMPLES / "README.md").read_text()
    names = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".mjs"))
    assert len(names) == 10
    assert sorted(re.findall(r"^\| \[`([^`]+)`\]\(\1\) \|", index, re.MULTILINE)) == names
    for name in names:
        assert re.search(rf"`(python|node) examples/{re.escape(name)}`", index), name
        assert len((EXAMPLES / name).read_text().splitlines()) <= 60
