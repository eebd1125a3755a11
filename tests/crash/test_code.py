"""``kill -9`` while a run's code is running: the code runs again, and the step says so; nothing else is done twice."""

import shutil
import time
from pathlib import Path

import pytest

from tests.builders import a_run, an_assistant, fetched, run_path, settled
from tests.replies import Calls, Reply, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

CODES = ("print('first')", "import time; print('begun', flush=True); time.sleep(3); print('ended')")


def rule(body: dict) -> Reply:  # type: ignore[type-arg]
    done = sum(message["role"] == "tool" for message in body["messages"])
    return Calls(("code_interpreter", {"code": CODES[done]})) if done < len(CODES) else Says("Done.")


@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here")
def test_code_that_was_under_way_is_run_again_and_says_so(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        upstream.rule(rule)
        with Everloom(tmp_path, upstream=upstream.url) as server, client_of(server) as http:
            run = a_run(http, assistant=an_assistant(http, tools=[{"type": "code_interpreter"}]))
            begun = "begun"
            deadline = time.monotonic() + 60
            with http.stream("GET", f"{run_path(run)}/events", timeout=60) as events:
                for line in events.iter_lines():
                    assert time.monotonic() < deadline
                    if begun in line and '"logs"' in line:
                        break
            server.kill()
        with Everloom(tmp_path, upstream=upstream.url) as server, client_of(server) as http:
            done = settled(http, run, seconds=60)
            assert done["status"] == "completed"
            steps = fetched(http, f"{run_path(run)}/steps", order="asc")["data"]
        assert [step["type"] for step in steps] == ["tool_calls", "tool_calls", "message_creation"]
        logs = [
            "".join(output["logs"] for output in step["step_details"]["tool_calls"][0]["code_interpreter"]["outputs"])
            for step in steps[:2]
        ]
        assert logs[0] == "first\n"
        assert logs[1].startswith("[The server was restarted while this code was running.")
        assert logs[1].endswith("begun\nended\n")
        assert len(upstream.requests) == 3
