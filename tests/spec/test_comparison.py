"""The comparison with what was recorded has to see what it is for."""

import pytest

from tests.spec.comparison import events, of_headers, of_streams, of_values

RUN = {"id": "run_1", "status": "queued", "started_at": None, "usage": None, "tools": [{"type": "x"}], "max": 1}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"status": "completed"}, "status"),
        ({"started_at": 5}, "started_at"),
        ({"usage": {}}, "usage"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "y"}]}, "tools[0].type"),
        ({"id": None}, "id"),
        ({"id": 5}, "id"),
        ({"max": True}, "max"),
    ],
)
def test_another_value_is_seen(change: dict[str, object], path: str) -> None:
    assert [difference.path for difference in of_values(RUN, RUN | change)] == [path]


@pytest.mark.parametrize("name", list(RUN))
def test_a_missing_member_is_seen(name: str) -> None:
    ours = {key: value for key, value in RUN.items() if key != name}
    assert [difference.path for difference in of_values(RUN, ours)] == [name]


def test_ids_and_times_and_more_members_do_not_count() -> None:
    ours = RUN | {"id": "run_2", "more": 1}
    assert not list(of_values(RUN, ours))
    assert not list(of_values({"created_at": 1, "total_tokens": 5}, {"created_at": 2, "total_tokens": 6}))


def test_an_empty_list_is_not_a_full_one() -> None:
    page = {"object": "list", "data": [RUN]}
    assert [difference.path for difference in of_values(page, page | {"data": []})] == ["data"]
    assert [difference.path for difference in of_values(page | {"data": []}, page)] == ["data"]


def test_headers() -> None:
    recorded = {"content-type": "text/event-stream", "openai-version": "2020-10-01", "x-request-id": "1", "cf-ray": "2"}
    good = {"content-type": "text/event-stream; charset=utf-8", "openai-version": "2020-10-01", "x-request-id": "3"}
    assert not list(of_headers(recorded, good))
    bad = {"content-type": "application/json", "openai-version": "1"}
    found = [difference.path for difference in of_headers(recorded, bad)]
    assert found == ["header.content-type", "header.openai-version", "header.x-request-id"]


def stream(*names: str, status: str = "queued") -> str:
    data = {"thread.message.delta": '{"delta":{"value":"a"}}', "done": "[DONE]"}
    rest = f'{{"status":"{status}"}}'
    return "".join(f"event: {name}\ndata: {data.get(name, rest)}\n\n" for name in names)


def test_streams() -> None:
    recorded = stream("thread.run.created", *["thread.message.delta"] * 3, "thread.run.completed", "done")
    more = stream("thread.run.created", *["thread.message.delta"] * 9, "thread.run.completed", "done")
    assert not list(of_streams(recorded, more))
    assert [name for name, _ in events(more)][1:] == ["thread.message.delta", "thread.run.completed", "done"]
    for wrong in (
        stream("thread.run.created", "thread.message.delta", "thread.run.completed"),
        stream("thread.message.delta", "thread.run.created", "thread.run.completed", "done"),
        stream("thread.run.created", "thread.run.completed", "done"),
        stream("thread.run.created", *["thread.message.delta"] * 3, "thread.run.completed", "done", status="failed"),
    ):
        assert list(of_streams(recorded, wrong)), wrong
