"""Runs that run code in the sandbox: what it prints, plots and writes, and what it may not."""

import base64
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.test_vector_stores import a_file
from tests.builders import Json, a_run, a_thread, an_assistant, events_of, fetched, posted, run_path, settled
from tests.replies import Calls, Reply, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

pytestmark = pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here")

TOOLS: Json = {"tools": [{"type": "code_interpreter"}]}

PLOT = """import pandas as pd
import matplotlib.pyplot as plt
data = pd.read_csv("/mnt/data/sales.csv")
data.plot(x="month", y="sold")
plt.show()
data.describe().to_csv("/mnt/data/summary.csv")
print(data["sold"].sum())"""


@pytest.fixture
def http(each_server: Everloom) -> Iterator[httpx.Client]:
    with client_of(each_server) as client:
        yield client


def coding(*codes: str, says: str = "Done.") -> Any:
    """A model that runs these codes, one a round, and then speaks."""

    def rule(body: Json) -> Reply:
        done = sum(message["role"] == "tool" for message in body["messages"])
        return Calls(("code_interpreter", {"code": codes[done]})) if done < len(codes) else Says(says)

    return rule


def coded(http: httpx.Client, upstream: ScriptedUpstream, *codes: str, says: str = "Done.", **fields: Any) -> Json:
    """A run that has run these codes."""
    upstream.rule(coding(*codes, says=says))
    run = settled(http, a_run(http, assistant=an_assistant(http, **TOOLS, **fields)), seconds=90)
    assert run["status"] == "completed", run
    return run


def outputs_of(http: httpx.Client, run: Json) -> list[list[Json]]:
    """The outputs of each code call of a run, in order."""
    steps = fetched(http, f"{run_path(run)}/steps", order="asc")["data"]
    calls = [call for step in steps if step["type"] == "tool_calls" for call in step["step_details"]["tool_calls"]]
    return [call["code_interpreter"]["outputs"] for call in calls]


def test_a_plot_and_a_file_come_back_as_files(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    csv = a_file(http, "month,sold\n1,10\n2,14\n3,18\n", "sales.csv")
    says = "The sum is 42, see [summary](sandbox:/mnt/data/summary.csv)."
    resources = {"code_interpreter": {"file_ids": [csv]}}
    run = coded(http, upstream, PLOT, says=says, tool_resources=resources)
    (outputs,) = outputs_of(http, run)
    image = next(output["image"]["file_id"] for output in outputs if output["type"] == "image")
    assert "42" in "".join(output["logs"] for output in outputs if output["type"] == "logs")
    assert http.get(f"/files/{image}/content").content.startswith(b"\x89PNG\r\n")
    assert fetched(http, f"/files/{image}")["purpose"] == "assistants_output"
    message = fetched(http, f"/threads/{run['thread_id']}/messages")["data"][0]
    picture, text = message["content"]
    assert picture == {"type": "image_file", "image_file": {"file_id": image}}
    answer = text["text"]
    (annotation,) = answer["annotations"]
    assert message["attachments"] == [
        {"file_id": annotation["file_path"]["file_id"], "tools": [{"type": "code_interpreter"}]}
    ]
    assert annotation["type"] == "file_path"
    assert answer["value"][annotation["start_index"] : annotation["end_index"]] == "sandbox:/mnt/data/summary.csv"
    summary = fetched(http, f"/files/{annotation['file_path']['file_id']}")
    assert summary["filename"] == "summary.csv"
    assert b"sold" in http.get(f"/files/{summary['id']}/content").content
    step = fetched(http, f"{run_path(run)}/steps", order="asc")["data"][0]
    assert step["step_details"]["tool_calls"][0]["code_interpreter"]["input"] == PLOT


def test_a_file_of_an_earlier_run_can_be_linked_again(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    link = "Here: [it](sandbox:/mnt/data/out.txt)."
    run = coded(http, upstream, "open('/mnt/data/out.txt', 'w').write('x')", says=link)
    upstream.rule(lambda body: Says(link))
    again = settled(http, a_run(http, {"id": run["thread_id"]}, assistant=an_assistant(http, **TOOLS)))
    assert again["status"] == "completed"
    last, before = (
        message["content"][0]["text"]["annotations"]
        for message in fetched(http, f"/threads/{run['thread_id']}/messages")["data"]
        if message["role"] == "assistant"
    )
    assert [one["file_path"] for one in last] == [one["file_path"] for one in before] != []


def test_code_under_another_name_is_run(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(Calls(("code_interpreter", {"input": "print(6 * 7)"})), Says("Done."))
    run = settled(http, a_run(http, assistant=an_assistant(http, **TOOLS)), seconds=90)
    assert outputs_of(http, run) == [[{"type": "logs", "logs": "42\n"}]]


def test_state_is_kept_between_the_calls_and_runs_of_a_thread(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    run = coded(http, upstream, "x = 6", "print(x * 7)")
    assert outputs_of(http, run)[1] == [{"type": "logs", "logs": "42\n"}]
    upstream.rule(coding("print(x + 1)"))
    again = settled(http, a_run(http, {"id": run["thread_id"]}, an_assistant(http, **TOOLS)), seconds=60)
    assert outputs_of(http, again) == [[{"type": "logs", "logs": "7\n"}]]


def test_errors_of_the_code_are_outputs(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    run = coded(http, upstream, "1 / 0")
    ((logs,),) = outputs_of(http, run)
    assert "ZeroDivisionError" in logs["logs"]
    assert "ZeroDivisionError" in upstream.requests[-1].body["messages"][-1]["content"]


def test_the_stream_tells_code_and_outputs_as_they_come(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(coding("print('one')\nprint('two')"))
    thread, assistant = a_thread(http, "Hi"), an_assistant(http, **TOOLS)
    body = {"assistant_id": assistant["id"], "stream": True}
    events = events_of(http.post(f"/threads/{thread['id']}/runs", json=body, timeout=90))
    deltas = [
        data["delta"]["step_details"]["tool_calls"][0] for name, data in events if name == "thread.run.step.delta"
    ]
    assert deltas[0]["id"].startswith("call_")
    written = "".join(delta["code_interpreter"].get("input", "") for delta in deltas)
    logs = [output for delta in deltas for output in delta["code_interpreter"].get("outputs", [])]
    (step,) = [data for name, data in events if name == "thread.run.step.completed"][:1]
    call = step["step_details"]["tool_calls"][0]["code_interpreter"]
    assert call["input"] == written
    assert call["outputs"] == [{"type": "logs", "logs": "".join(output["logs"] for output in logs)}]


TWO_PICTURES = """import matplotlib.pyplot as plt
plt.plot([1, 2]); plt.show()
plt.plot([2, 1]); plt.show()
open("/mnt/data/a b.txt", "w").write("words")"""


def test_pictures_and_files_come_with_the_message_as_it_streams(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.rule(coding(TWO_PICTURES, says="See [the words](sandbox:/mnt/data/a%20b.txt)."))
    thread, assistant = a_thread(http, "Hi"), an_assistant(http, **TOOLS)
    body = {"assistant_id": assistant["id"], "stream": True}
    events = events_of(http.post(f"/threads/{thread['id']}/runs", json=body, timeout=90))
    parts = [data["delta"]["content"][0] for name, data in events if name == "thread.message.delta"]
    assert [(part["index"], part["type"]) for part in parts[:3]] == [(0, "image_file"), (1, "image_file"), (2, "text")]
    assert {part["index"] for part in parts[2:]} == {2}
    message = dict(events)["thread.message.completed"]
    assert [block["type"] for block in message["content"]] == ["image_file", "image_file", "text"]
    assert [part["image_file"] for part in parts[:2]] == [block["image_file"] for block in message["content"][:2]]
    (step,) = [data for name, data in events if name == "thread.run.step.completed"][:1]
    shown = [
        output["image"]["file_id"]
        for output in step["step_details"]["tool_calls"][0]["code_interpreter"]["outputs"]
        if output["type"] == "image"
    ]
    assert [block["image_file"]["file_id"] for block in message["content"][:2]] == shown
    (annotation,) = message["content"][2]["text"]["annotations"]
    assert annotation["text"] == "sandbox:/mnt/data/a%20b.txt"
    assert message["attachments"][0]["file_id"] == annotation["file_path"]["file_id"]
    created = dict(events)["thread.message.created"]
    assert created["attachments"] == message["attachments"]
    with httpx.Client(base_url=http.base_url, headers={**http.headers, "openai-beta": "assistants=v1"}) as old:
        seen = fetched(old, f"/threads/{thread['id']}/messages/{message['id']}")
        assert seen["file_ids"] == [annotation["file_path"]["file_id"]]
        assert [block["type"] for block in seen["content"]] == ["image_file", "image_file", "text"]
    # The next run tells its model what was there, though a picture has gone meanwhile.
    http.delete(f"/files/{shown[0]}")
    upstream.reset()
    upstream.script(Says("Yes."))
    again = settled(http, a_run(http, thread, assistant))
    assert again["status"] == "completed", again
    sent = str(upstream.requests[-1].body["messages"])
    assert "it was deleted" in sent
    assert "[image " in sent


def test_code_of_one_thread_sees_nothing_of_another(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    secret = base64.b64encode(b"one thread's own").decode()
    coded(http, upstream, f"open('/mnt/data/secret.txt', 'w').write('{secret}')")
    run = coded(http, upstream, "import os; print(os.listdir('/mnt/data'), [k for k in os.environ if 'EVERLOOM' in k])")
    ((logs,),) = outputs_of(http, run)
    assert logs["logs"] == "[] []\n"


def test_a_function_of_the_callers_with_the_tools_name_is_the_callers(
    http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    upstream.script(Calls(("code_interpreter", {"code": "1"})))
    own = {"type": "function", "function": {"name": "code_interpreter"}}
    run = settled(http, a_run(http, assistant=an_assistant(http, tools=[own])))
    assert run["required_action"]["submit_tool_outputs"]["tool_calls"][0]["function"]["name"] == "code_interpreter"
    posted(http, f"{run_path(run)}/cancel")
