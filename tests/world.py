"""One object of each kind, hung together, for tests that walk every operation."""

import httpx

from tests.batches import a_batch, a_line, an_input, ended
from tests.builders import WEATHER, Json, a_run, a_thread, fetched, posted, run_path, settled
from tests.fine_tuning import a_job, a_training_file, until
from tests.replies import Calls, Says
from tests.scripted import ScriptedUpstream
from tests.stores import ready

ENDPOINT: Json = {"url": "https://example.org/hook", "name": "known", "event_types": ["batch.completed"]}
"""A webhook endpoint that is told of nothing."""


def a_world(
    http: httpx.Client, old_http: httpx.Client, upstream: ScriptedUpstream, *, waiting: bool = False
) -> dict[str, str]:
    """The ids by the names they have in paths. The run has ended, or is ``waiting`` for outputs.

    ``batch_id`` is two nouns in the reference; that of requests, of which one has failed, is ``request_batch_id``.
    The fine-tuning job has succeeded: with events, checkpoints, a file of results and the model ``fine_tuned_model``.
    The assistant and the message have the file, as both forms of the API attach one.
    """
    upload = http.post("/files", data={"purpose": "assistants"}, files={"file": ("a.txt", b"a secret")})
    file: str = upload.json()["id"]
    code = {"type": "code_interpreter"}
    assistant = posted(old_http, "/assistants", {"model": "gpt-4o", "tools": [code, WEATHER], "file_ids": [file]})
    thread = a_thread(http, metadata={"owner": "known"})
    attachments = [{"file_id": file, "tools": [code]}]
    path = f"/threads/{thread['id']}/messages"
    message = posted(http, path, {"role": "user", "content": "Hi", "attachments": attachments})
    upstream.rule(_weather)
    run = settled(http, a_run(http, thread, assistant, tools=[WEATHER]), "requires_action")
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "rain"} for call in calls]
    posted(http, f"{run_path(run)}/submit_tool_outputs", {"tool_outputs": outputs})
    settled(http, run, "completed")
    if waiting:
        run = settled(http, a_run(http, thread, assistant, tools=[WEATHER]), "requires_action")
    step = fetched(http, f"{run_path(run)}/steps")["data"][0]
    store = posted(http, "/vector_stores", {"name": "known"})
    batch = posted(http, f"/vector_stores/{store['id']}/file_batches", {"file_ids": [file]})
    ready(http, store)
    kept = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "store": True}
    completion = posted(http, "/chat/completions", {**kept, "metadata": {"owner": "known"}})
    input_id = an_input(http, [a_line(1, "Hi"), a_line(2, temperature=9)])
    requests = ended(http, a_batch(http, input_id))
    training_file = a_training_file(http)
    job = until(http, a_job(http, training_file))
    begun = {"filename": "a.txt", "purpose": "assistants", "bytes": 5, "mime_type": "text/plain"}
    return {
        "assistant_id": assistant["id"],
        "thread_id": thread["id"],
        "message_id": message["id"],
        "run_id": run["id"],
        "step_id": step["id"],
        "file_id": file,
        "vector_store_id": store["id"],
        "batch_id": batch["id"],
        "request_batch_id": requests["id"],
        "input_file_id": input_id,
        "completion_id": completion["id"],
        "training_file": training_file,
        "validation_file": training_file,
        "fine_tuning_job_id": job["id"],
        "fine_tuned_model": job["fine_tuned_model"],
        "upload_id": posted(http, "/uploads", begun)["id"],
        "webhook_endpoint_id": posted(http, "/webhook_endpoints", ENDPOINT)["id"],
    }


def _weather(body: Json) -> Calls | Says:
    """By the request alone: a script could be taken from us by a run that an earlier test left behind."""
    told = any(message["role"] == "tool" for message in body["messages"][-1:])
    return Calls(("weather", {"city": "Oslo"})) if body.get("tools") and not told else Says("Rain.")
