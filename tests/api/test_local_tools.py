"""The tools on the model that comes with the install: it cites the right file, and its plot can be read."""

import shutil
from collections.abc import Iterator

import httpx
import pytest

from tests.api.test_vector_stores import a_file, ready
from tests.builders import Json, a_run, a_thread, an_assistant, fetched, posted, run_path, settled
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.weights import default_weights
from tests.work.documents import pdf

MODEL = "smollm2-135m"

PLOT = """Run this code:
import pandas as pd
import matplotlib.pyplot as plt
data = pd.read_csv("/mnt/data/sales.csv")
data.plot(x="month", y="sold")
plt.show()"""


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    weights = default_weights().folder
    with Everloom(tmp_path_factory.mktemp("local"), weights=weights) as server, client_of(server) as client:
        yield client


def a_local_run(http: httpx.Client, question: str, assistant: Json, **fields: object) -> Json:
    run = a_run(http, a_thread(http, question), assistant, max_completion_tokens=300, temperature=0, **fields)
    run = settled(http, run, seconds=120)
    assert run["status"] in ("completed", "incomplete"), run
    return run


def test_it_cites_the_file_that_holds_the_answer(http: httpx.Client) -> None:
    boats = a_file(http, pdf("The oldest boat in the harbour of Bergen is the Albatross, built in 1902."), "boats.pdf")
    trains = a_file(http, "The night train goes from Oslo to Trondheim.", "trains.txt")
    store = ready(http, posted(http, "/vector_stores", {"file_ids": [boats, trains]}), seconds=60)
    assert store["file_counts"]["completed"] == 2
    resources = {"file_search": {"vector_store_ids": [store["id"]]}}
    assistant = an_assistant(http, model=MODEL, tools=[{"type": "file_search"}], tool_resources=resources)
    run = a_local_run(http, "What is the oldest boat in the harbour?", assistant)
    (part,) = fetched(http, f"/threads/{run['thread_id']}/messages")["data"][0]["content"]
    assert "Albatross" in part["text"]["value"]
    (asked,) = fetched(http, f"{run_path(run)}/model_requests")["data"]
    assert asked["exact"]
    assert asked["messages"][-1]["content"].startswith("Passages from the user's files:")
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["answer", "source"]
    (cited,) = part["text"]["annotations"]
    assert cited["file_citation"]["file_id"] == boats
    assert part["text"]["value"][cited["start_index"] : cited["end_index"]] == cited["text"]


def test_a_model_that_does_not_reason_is_told_no_effort(http: httpx.Client) -> None:
    assistant = an_assistant(http, model=MODEL, reasoning_effort="high")
    run = a_local_run(http, "Hello", assistant)
    assert run["reasoning_effort"] == "high"


@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here")
def test_it_plots_a_table(http: httpx.Client) -> None:
    table = a_file(http, "month,sold\n1,10\n2,14\n3,18\n", "sales.csv")
    resources = {"code_interpreter": {"file_ids": [table]}}
    tools = [{"type": "code_interpreter"}]
    assistant = an_assistant(http, model=MODEL, instructions=None, tools=tools, tool_resources=resources)
    run = a_local_run(http, PLOT, assistant, tool_choice={"type": "code_interpreter"})
    steps = fetched(http, f"{run_path(run)}/steps", order="asc")["data"]
    (call,) = [call for step in steps if step["type"] == "tool_calls" for call in step["step_details"]["tool_calls"]]
    (image,) = [output for output in call["code_interpreter"]["outputs"] if output["type"] == "image"]
    png = http.get(f"/files/{image['image']['file_id']}/content").content
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")
