"""``everloom import`` and ``everloom export``: what leaves one server comes into another as it was."""

import json
from pathlib import Path
from typing import Any

import httpx

from tests.builders import WEATHER, Json, a_run, a_thread, fetched, posted, run_path, settled
from tests.cli.programs import everloom
from tests.replies import Calls, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_file, a_store, files_in, found, ready


def taken(folder: Path, *arguments: str, status: int = 0) -> Any:
    done = everloom(folder, "import", *arguments, "--json")
    assert (done.returncode, done.stderr) == (status, ""), done.stdout + done.stderr
    return json.loads(done.stdout)


def a_server(folder: Path, upstream: ScriptedUpstream) -> Everloom:
    folder.mkdir(exist_ok=True)
    return Everloom(folder, upstream=upstream.url, embedding_model="scripted")


def walked(http: httpx.Client, path: str, **query: Any) -> list[Json]:
    """All of a list, by pages, newest first."""
    found: list[Json] = []
    after: dict[str, Any] = {}
    while True:
        page = fetched(http, path, limit=7, **after, **query)
        found += page["data"]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


def all_of(http: httpx.Client) -> dict[str, bytes]:
    """Every object of a project as the API shows it, by its path, and the lists by theirs."""
    paths = ["/assistants", "/threads", "/files", "/vector_stores"]
    shown: dict[str, bytes] = {}
    for path in paths:
        for each in walked(http, path):
            own = f"{path}/{each['id']}"
            shown[own] = http.get(own).content
            if path == "/files":
                shown[f"{own}/content"] = http.get(f"{own}/content").content
            for inner in {"/threads": ("messages", "runs"), "/vector_stores": ("files",)}.get(path, ()):
                paths.append(f"{own}/{inner}")
            if path.endswith("/runs"):
                paths.append(f"{own}/steps")
        shown[path] = json.dumps([each["id"] for each in walked(http, path)]).encode()
    return shown


def rain(body: Json) -> Calls | Says:
    told = any(message["role"] == "tool" for message in body["messages"][-1:])
    return Calls(("weather", {"city": "Oslo"})) if body.get("tools") and not told else Says("Rain.")


def a_history(http: httpx.Client, old_http: httpx.Client, upstream: ScriptedUpstream) -> None:
    """Objects of all kinds, made through the API in both of its forms."""
    file = a_file(http, "The moon is a harsh mistress. " * 20, "moon.txt")
    code = {"type": "code_interpreter"}
    older = posted(old_http, "/assistants", {"model": "gpt-4o", "tools": [code, WEATHER], "file_ids": [file]})
    posted(
        http, "/assistants", {"model": "gpt-4o", "metadata": {"a": "b"}, "temperature": 0.3, "reasoning_effort": "low"}
    )
    store = a_store(http, "Dogs bark.", "Cats meow.", name="pets", metadata={"kind": "animals"})
    posted(http, f"/vector_stores/{store['id']}/files", {"file_id": file, "attributes": {"year": 1966}})
    ready(http, store)
    searching = {
        "tools": [{"type": "file_search"}],
        "tool_resources": {"file_search": {"vector_store_ids": [store["id"]]}},
    }
    thread = a_thread(
        http, "one", "two", "three", metadata={"owner": "known"}, tool_resources=searching["tool_resources"]
    )
    attachments = [{"file_id": file, "tools": [code, {"type": "file_search"}]}]
    path = f"/threads/{thread['id']}/messages"
    content = [
        {"type": "text", "text": "看 🙂"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    posted(http, path, {"role": "user", "content": content, "attachments": attachments, "metadata": {"n": "1"}})
    upstream.rule(rain)
    run = settled(http, a_run(http, thread, older, tools=[WEATHER]), "requires_action")
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "rain"} for call in calls]
    posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
    settled(http, run, "completed")
    posted(
        old_http, f"/threads/{a_thread(http)['id']}/messages", {"role": "user", "content": "old", "file_ids": [file]}
    )
    for store in walked(http, "/vector_stores"):
        ready(http, store)


def test_what_is_exported_comes_out_byte_for_byte(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    with (
        a_server(tmp_path / "a", upstream) as source,
        client_of(source) as http,
        client_of(source, beta="assistants=v1") as old_http,
    ):
        a_history(http, old_http, upstream)
        expected = all_of(http)
        concerned = [path for path in expected if path.startswith(("/assistants/", "/threads/"))]
        older = {path: old_http.get(path).json() for path in concerned}
        said = source.command("export", str(tmp_path / "out"))
        assert "thread.run.step" in said
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {"contents", *(f"{name}s.jsonl" for name in NAMES)}
    with a_server(tmp_path / "b", upstream) as target, client_of(target) as http:
        report = json.loads(target.command("import", str(tmp_path / "out"), "--json"))
        assert report["faults"] == []
        assert report["unchanged"] == {}
        assert sum(report["taken"].values()) == sum(
            len(path.read_bytes().splitlines()) for path in (tmp_path / "out").glob("*.jsonl")
        )
        for store in walked(http, "/vector_stores"):
            ready(http, store)
        assert all_of(http) == expected
        with client_of(target, beta="assistants=v1") as old_http:
            assert {path: old_http.get(path).json() for path in older} == older
        (pets,) = [store for store in walked(http, "/vector_stores") if store["name"] == "pets"]
        assert len(files_in(http, pets)) == 3
        assert found(http, pets, "bark")
        again = json.loads(target.command("import", str(tmp_path / "out"), "--json"))
        assert again["taken"] == {}
        assert again["unchanged"] == report["taken"]
        target.command("export", str(tmp_path / "back"))
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert (tmp_path / "back" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes()


NAMES = (
    *("assistant", "assistant-file", "file", "thread", "thread-message", "thread-run", "thread-run-step"),
    *("vector_store", "vector_store-file"),
)
