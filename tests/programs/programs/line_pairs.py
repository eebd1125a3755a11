"""A reader of streams that takes their lines in pairs, as jvm-openai and others written by hand do.

The first line of an event is its name, the second its data, and nothing else stands there but empty lines.
"""

import json
import os
import urllib.request

URL = os.environ["OPENAI_BASE_URL"]
HEADERS = {
    "authorization": f"Bearer {os.environ['OPENAI_API_KEY']}",
    "content-type": "application/json",
    "openai-beta": "assistants=v2",
    "accept": "text/event-stream",
}


def post(path, body):
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), HEADERS)
    return urllib.request.urlopen(request, timeout=60)


def pairs(answer):
    lines = (line.decode().rstrip("\n") for line in answer)
    full = (line for line in lines if line)
    for first in full:
        second = next(full)
        assert first[:7] == "event: ", first
        assert second[:6] == "data: ", second
        yield first[7:], second[6:]


with post("/assistants", {"model": "gpt-4o", "instructions": "Be brief."}) as answer:
    assistant = json.load(answer)
body = {
    "assistant_id": assistant["id"],
    "thread": {"messages": [{"role": "user", "content": "a b c"}]},
    "stream": True,
}
with post("/threads/runs", body) as answer:
    events = list(pairs(answer))
names = [name for name, _ in events]
assert names[:3] == ["thread.created", "thread.run.created", "thread.run.queued"], names
assert events[-1] == ("done", "[DONE]")
deltas = [json.loads(data) for name, data in events if name == "thread.message.delta"]
assert "".join(delta["delta"]["content"][0]["text"]["value"] for delta in deltas) == "You said: a b c"
print("ok pairs")

thread = json.loads(events[0][1])["id"]
with post(f"/threads/{thread}/messages", {"role": "user", "content": "again"}) as answer:
    assert json.load(answer)["role"] == "user"
with post(f"/threads/{thread}/runs", {"assistant_id": assistant["id"], "stream": True}) as answer:
    names = [name for name, _ in pairs(answer)]
assert names[0] == "thread.run.created"
assert names[-1] == "done"
print("ok one stream after another")
