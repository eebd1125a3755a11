"""``everloom demo``, against an upstream with a script, and once with the models in the box."""

import os
import signal
from pathlib import Path

import pytest

from everloom.cli.demo_scenes import CODE_QUESTION, HANDBOOK_QUESTION, QUESTION
from everloom.models.files.weights import MINILM, SMOLLM2
from tests.cli.programs import everloom, running
from tests.replies import Json
from tests.scripted import Calls, Fails, Hangs, Reply, Says, ScriptedUpstream
from tests.weights import default_weights

CALL = Calls(("get_opening_hours", {"city": "Bergen"}))


def test_the_steps_of_a_run_are_shown_as_they_happen(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.script(CALL, Says("The library opens at nine."))
        done = everloom(tmp_path, "demo", "--upstream", upstream.url, "--model", "gpt-4o")
        asked = [QUESTION in str(request.body["messages"]) for request in upstream.requests]
    assert (done.returncode, done.stderr) == (0, "")
    assert asked[:2] == [True, True]
    scene = done.stdout.partition("1. A function")[2].partition("2. A handbook")[0]
    shown = [line.split(maxsplit=1) for line in scene.split("\n\n")[0].splitlines()[1:]]
    assert [words[0] for words in shown[:4]] == ["assistant", "thread", "user", "run"]
    assert ["message", "The library opens at nine."] in shown
    calls = [words[1] for words in shown if words[0] == "call"]
    assert calls == ['get_opening_hours {"city": "Bergen"}'] or calls == ['get_opening_hours {"city":"Bergen"}']
    states = [line.split()[-1] for line in scene.splitlines() if line.startswith("run  ")]
    assert states == ["queued", "in_progress", "requires_action", "queued", "in_progress", "completed"]
    steps = scene.split("\n\n")[1].splitlines()[1:]
    assert [step.split()[1:3] for step in steps] == [["tool_calls", "completed"], ["message_creation", "completed"]]
    assert "\x1b" not in done.stdout
    assert "everloom demo --kill" in done.stdout
    assert not (tmp_path / "data").exists()


def test_a_scene_that_lacks_something_says_what(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.script(CALL)
        done = everloom(tmp_path, "demo", "--upstream", upstream.url, sandbox_python="/nowhere/python")
    assert done.returncode == 0
    assert "'everloom models pull' fetches it" in done.stdout.partition("2. A handbook")[2]
    assert "not here: " in done.stdout.partition("3. Code")[2]


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.rule(lambda body: Fails(400, "this model is on holiday"))
        done = everloom(tmp_path, "demo", "--upstream", upstream.url)
    assert done.returncode == 1
    assert "this model is on holiday" in done.stdout
    assert "Traceback" not in done.stderr


def test_what_a_model_says_reaches_no_terminal_raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with ScriptedUpstream() as upstream:
        upstream.script(CALL, Says("\x1b]0;mine\x07 [red]and[/red] \u202eover"))
        done = everloom(tmp_path, "demo", "--upstream", upstream.url)
    assert done.returncode == 0
    assert "]0;mine" in done.stdout
    assert "[red]" in done.stdout
    assert not any(raw in done.stdout for raw in ("\x1b]", "\x07", "\u202e"))
    assert "\x1b[36m" in done.stdout


def test_a_run_goes_on_whose_server_is_killed(tmp_path: Path) -> None:
    answers: list[Reply] = [Hangs(12, Says("a b c d e f g h i j k l m n")), Says("The library opens at nine.")]

    def rule(body: Json) -> Reply:
        return answers.pop(0) if body["messages"][-1]["role"] == "tool" else CALL

    with ScriptedUpstream() as upstream:
        upstream.rule(rule)
        done = everloom(tmp_path, "demo", "--kill", "--upstream", upstream.url, "--model", "gpt-4o")
        asked = [request.body["messages"][-1]["role"] for request in upstream.requests]
    assert (done.returncode, done.stderr) == (0, "")
    assert asked == ["user", "tool", "tool"]
    before, killed, behind = done.stdout.partition("\nkill ")
    assert killed
    assert "message    a b c d e f g h" in before
    assert "message    The library opens at nine." in behind
    assert "✗" not in done.stdout
    assert done.stdout.count("✓") == 4


def test_a_demo_that_is_told_to_end_takes_its_server_and_its_folder_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with ScriptedUpstream() as upstream:
        upstream.script(Hangs(3))
        arguments = ("demo", "--upstream", upstream.url, "--model", "gpt-4o")
        with running(tmp_path, *arguments) as program:
            program.until("run step")
            program.process.send_signal(signal.SIGTERM)
            assert program.process.wait(60) == 128 + signal.SIGTERM
        assert upstream.wait(lambda: not upstream.active, 60)
    assert os.listdir(scratch) == []


def test_the_models_in_the_box_play_all_of_it(tmp_path: Path) -> None:
    weights = default_weights()
    for weight in (SMOLLM2, MINILM):
        weights.fetch(weight)
    done = everloom(tmp_path, "demo", weights=str(weights.folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(" completed\n") >= 3 * 2
    assert all(question in done.stdout for question in (QUESTION, HANDBOOK_QUESTION, CODE_QUESTION))
    assert "【1:0†source】 is in the handbook: " in done.stdout
    assert "\noutput     " in done.stdout or "not here: " in done.stdout
