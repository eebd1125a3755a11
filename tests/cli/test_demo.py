"""``everloom demo``, against an upstream with a script."""

from pathlib import Path

from tests.cli.programs import everloom
from tests.scripted import Calls, Fails, Says, ScriptedUpstream


def test_the_steps_of_a_run_are_shown_as_they_happen(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.script(Calls(("get_opening_hours", {"city": "Bergen"})), Says("The library opens at nine."))
        done = everloom(tmp_path, "demo", "--upstream", upstream.url, "--model", "gpt-4o")
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.split(maxsplit=1) for line in done.stdout.split("\n\n")[0].splitlines()]
    assert [words[0] for words in shown[:4]] == ["assistant", "thread", "user", "run"]
    assert ["message", "The library opens at nine."] in shown
    calls = [words[1] for words in shown if words[0] == "call"]
    assert calls == ['get_opening_hours {"city": "Bergen"}'] or calls == ['get_opening_hours {"city":"Bergen"}']
    states = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("run  ")]
    assert states == ["queued", "in_progress", "requires_action", "queued", "in_progress", "completed"]
    steps = done.stdout.split("\n\n")[1].splitlines()[1:]
    assert [step.split()[1:3] for step in steps] == [["tool_calls", "completed"], ["message_creation", "completed"]]
    assert not (tmp_path / "data").exists()


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.rule(lambda body: Fails(400, "this model is on holiday"))
        done = everloom(tmp_path, "demo", "--upstream", upstream.url)
    assert done.returncode == 1
    assert "this model is on holiday" in done.stdout
    assert "Traceback" not in done.stderr
