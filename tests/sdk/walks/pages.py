"""Pages of messages, runs and steps, forwards and backwards: every object once, in order, whatever the limit."""

import itertools

from program import WEATHER, a_thread, an_assistant, client, ok

COUNT = 47
ROUNDS = 23


def check(list_page, ids):
    """Lists over ``list_page(limit=, order=, …)`` give ``ids`` (oldest first), by the SDK's loop and by hand."""
    for limit, order in itertools.product((1, 7, 20, 100), ("asc", "desc")):
        wanted = ids if order == "asc" else ids[::-1]
        # One request for one object is slow and shows nothing new beyond a few of them.
        some = 10 if limit == 1 else len(ids)
        found = itertools.islice(list_page(limit=limit, order=order), some)
        assert [each.id for each in found] == wanted[:some], (limit, order)
    assert [each.id for each in list_page()] == ids[::-1]
    for order in ("asc", "desc"):
        wanted = ids if order == "asc" else ids[::-1]
        pages = [list_page(limit=20, order=order)]
        while len(pages[-1].data) == 20:
            pages.append(list_page(limit=20, order=order, after=pages[-1].data[-1].id))
        assert [each.id for page in pages for each in page.data] == wanted
        back = list_page(limit=20, order=order, before=pages[-1].data[0].id)
        assert back.data == pages[-2].data
        last = list_page(limit=20, order=order, after=wanted[-1])
        assert last.data == []
        assert list_page(limit=20, order=order, before=wanted[0]).data == []
    objects = list(list_page(limit=20, order="asc"))
    assert len({each.id for each in objects}) == len(objects) == len(ids)


assistant = an_assistant(tools=[WEATHER])

thread = client.beta.threads.create()
made = [client.beta.threads.messages.create(thread.id, role="user", content=f"m {n}").id for n in range(COUNT)]
check(lambda **query: client.beta.threads.messages.list(thread.id, **query), made)
empty = client.beta.threads.messages.list(client.beta.threads.create().id)
assert empty.data == []
assert list(empty) == []
ok("messages")

thread = a_thread("Hi")
made = []
for _ in range(COUNT):
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    run = client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20)
    assert run.status == "completed", run.last_error
    made.append(run.id)
check(lambda **query: client.beta.threads.runs.list(thread.id, **query), made)
answers = {message.run_id: message for message in client.beta.threads.messages.list(thread.id, limit=100)}
assert set(answers) - {None} == set(made)
ok("runs")

thread = a_thread(f"take {ROUNDS} rounds")
runs = client.beta.threads.runs
run = runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
while run.status == "requires_action":
    outputs = [
        {"tool_call_id": call.id, "output": "fine"} for call in run.required_action.submit_tool_outputs.tool_calls
    ]
    run = runs.submit_tool_outputs_and_poll(
        thread_id=thread.id, run_id=run.id, tool_outputs=outputs, poll_interval_ms=20
    )
assert run.status == "completed", run.last_error
steps = runs.steps.list(run.id, thread_id=thread.id, order="asc", limit=100).data
kinds = ["message_creation", "tool_calls"] * ROUNDS + ["message_creation"]
assert [step.type for step in steps] == kinds
assert len(steps) == COUNT
check(lambda **query: runs.steps.list(run.id, thread_id=thread.id, **query), [step.id for step in steps])
assert run.usage.total_tokens == sum(step.usage.total_tokens for step in steps)
ok("steps")

team = {client.beta.assistants.create(model=assistant.model, name=f"a{n}").id for n in range(5)}
listed = [each.id for each in client.beta.assistants.list(limit=2)]
assert team <= set(listed)
assert len(listed) == len(set(listed))
ok("assistants")
