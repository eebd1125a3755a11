"""Servers that are killed between an event and its delivery: it arrives, perhaps twice, with the same id."""

from pathlib import Path
from typing import Any

import pytest

from tests.builders import Json, a_run, posted, settled
from tests.hooks import Answering, Hook, never
from tests.postgres import fresh_database
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, upstream: ScriptedUpstream) -> Json:
    database = {"database": fresh_database()} if request.param == "postgres" else {}
    return {"upstream": upstream.url, "webhooks_allow_private": True, **database}


def an_endpoint(client: Any, url: str) -> None:
    posted(client, "/webhook_endpoints", {"url": url, "name": "n", "event_types": ["thread.run.completed"]})


def test_an_event_whose_server_dies_before_the_answer_arrives_again(settings: Json, tmp_path: Path) -> None:
    """Killed when the endpoint has it, and the server does not know yet."""
    killed: list[int] = []

    def kill_once(request: Answering) -> None:
        if killed:
            request.reply(204)
        else:
            killed.append(server.pid)
            server.kill()

    with Hook(kill_once) as hook:
        server = Everloom(tmp_path, **settings)
        with server, client_of(server) as client:
            an_endpoint(client, hook.url)
            run = a_run(client)
            hook.about(run["id"])
        with Everloom(tmp_path, **settings) as server, client_of(server) as client:
            first, second = hook.about(run["id"], 2)
            assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
            after = settled(client, a_run(client), "completed")
            assert len(hook.about(after["id"])) == 1
            assert len(hook.about(run["id"])) == 2


def test_events_that_wait_for_a_silent_endpoint_survive_its_server(settings: Json, tmp_path: Path) -> None:
    with Hook(never) as hook:
        server = Everloom(tmp_path, **settings)
        with server, client_of(server) as client:
            an_endpoint(client, hook.url)
            runs = [settled(client, a_run(client), "completed") for _ in range(12)]
            hook.wait(1)
            server.kill()
        hook.answer = lambda request: request.reply(200)
        with Everloom(tmp_path, **settings):
            for run in runs:
                sent = hook.about(run["id"], seconds=90)
                assert len({each.headers["webhook-id"] for each in sent}) == 1
