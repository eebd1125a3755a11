"""What is summed is never less than what the upstream counted, however often a server is killed; and it is the same
where none was.
"""

import random
import sqlite3
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.builders import Json, fetched, posted
from tests.crowd import Crowd, ask
from tests.organization import PROJECTS, a_project, admin_of, an_account
from tests.postgres import fresh_database
from tests.replies import Says, Slow
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom

PROMPT, WORDS = 20, 8
"""Tokens that each request costs, as the upstream counts them."""

PRICES = """
[[prices]]
model = "gpt-4o"
input = 10.0
output = 100.0
"""
ESTIMATED_SECONDS = 60.0
"""In which the dead are found; a sweep goes every five, on a machine that has nothing else to do."""


def sums(admin: httpx.Client, project: str) -> Json:
    """Requests and tokens of a project of today and the day before."""
    day = int(time.time()) // 86_400 * 86_400 - 86_400
    page = fetched(admin, "/organization/usage/completions", start_time=day, project_ids=project)
    results = [result for bucket in page["data"] for result in bucket["results"]]
    names = ("num_model_requests", "input_tokens", "output_tokens")
    return {name: sum(result[name] for result in results) for name in names}


def counted(upstream: ScriptedUpstream) -> Json:
    """What the upstream counted of the requests that reached it."""
    asked = len(upstream.requests)
    return {"num_model_requests": asked, "input_tokens": asked * PROMPT, "output_tokens": asked * WORDS}


def certain(database: str | None, folder: Path, project: str) -> Json:
    """What stands in the ledger without estimates."""
    names = ("requests", "input_tokens", "output_tokens")
    sums = ", ".join(f"CAST(SUM({name}) AS BIGINT)" for name in names)
    asked = f"SELECT {sums} FROM ledger WHERE estimated = 0 AND project = '{project}'"
    if database is None:
        with sqlite3.connect(folder / "everloom.db") as connection:
            row = connection.execute(asked).fetchone()
    else:
        with psycopg.connect(database) as other:
            row = other.execute(asked.encode()).fetchone()
    assert row is not None
    return dict(zip(("num_model_requests", "input_tokens", "output_tokens"), row, strict=True))


def answers(body: Json) -> Slow:
    """Words at a pace at which a request may be killed in the middle."""
    return Slow(0.003, Says(" ".join(["word"] * WORDS), prompt_tokens=PROMPT))


@pytest.mark.parametrize("on", ["sqlite", "postgres"])
def test_nothing_that_was_used_is_lost_by_a_kill(on: str, tmp_path: Path, upstream: ScriptedUpstream) -> None:
    (tmp_path / "everloom.toml").write_text(PRICES)
    upstream.rule(answers)
    settings: dict[str, Any] = {"upstream": upstream.url}
    if on == "postgres":
        settings["database"] = fresh_database()
    dice = random.Random(11)
    with ExitStack() as stack:
        count = 1 if on == "sqlite" else 2
        servers = [stack.enter_context(Everloom(tmp_path, **settings)) for _ in range(count)]
        with admin_of(servers[0]) as admin:
            project = a_project(admin)
            keys = [an_account(admin, project)["api_key"]["value"] for _ in range(3)]
            budget = {"threshold_amount": 1_000_000, "currency": "USD", "interval": "month"}
            posted(admin, f"{PROJECTS}/{project['id']}/spend_limit", budget)
        for _ in range(4):
            until = time.monotonic() + 1.0 + dice.random()
            crowd = Crowd([server.url for server in servers], keys, clients=24, ways=("plain", "streamed"))
            crowding = threading.Thread(target=crowd.run, args=(lambda until=until: time.monotonic() > until,))
            crowding.start()
            time.sleep(0.4 + dice.random() / 2)
            victim = dice.choice(servers)
            victim.kill()
            crowding.join()
            victim.start()
        with admin_of(servers[0]) as admin:
            least = counted(upstream)
            deadline = time.monotonic() + ESTIMATED_SECONDS
            while any((found := sums(admin, project["id"]))[name] < least[name] for name in least):
                assert time.monotonic() < deadline, (found, least)
                time.sleep(0.1)
            # Without its estimates it is never more: they alone are beyond what the upstream counted.
            sure = certain(settings.get("database"), tmp_path, project["id"])
            assert all(sure[name] <= least[name] for name in least), (sure, least)
            assert found["num_model_requests"] < 2 * least["num_model_requests"]


@pytest.mark.parametrize("on", ["sqlite", "postgres"])
def test_sums_are_what_the_upstream_counted(on: str, tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """By clients that read to the end, and a server that was told to stop in between."""
    upstream.rule(answers)
    settings: dict[str, Any] = {"upstream": upstream.url}
    if on == "postgres":
        settings["database"] = fresh_database()
    with Everloom(tmp_path, **settings) as server:
        with admin_of(server) as admin:
            project = a_project(admin)
            keys = [an_account(admin, project)["api_key"]["value"] for _ in range(3)]
        for _ in range(2):
            until = time.monotonic() + 1.5
            crowd = Crowd([server.url], keys, clients=24, ways=("plain", "streamed"))
            crowd.body = ask("Hello!", max_tokens=50)
            crowd.run(lambda until=until: time.monotonic() > until)
            assert not crowd.others
            assert server.stop() == 0
            server.start()
        with admin_of(server) as admin:
            assert sums(admin, project["id"]) == counted(upstream)
