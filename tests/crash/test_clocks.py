"""The machine's clock is set to another day while runs are in hand: they go on, and end when their time is over."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.builders import WEATHER, Json, a_run, fetched, posted, run_path, settled
from tests.crash.test_outages import SLACK_SECONDS, client
from tests.crowd import ask
from tests.organization import PROJECTS, admin_of, refused
from tests.postgres import fresh_database
from tests.replies import Calls, Hangs, Says
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom

RUN_SECONDS = 24
LOOKED_SECONDS = 5.0
"""In which every sweep has looked more than once, and executors have too."""


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[Everloom]:
    database = {"database": fresh_database()} if request.param == "postgres" else {}
    settings = {"upstream": upstream.url, "run_expires": RUN_SECONDS, **database}
    with Everloom(tmp_path, module="tests.crash.jumping", **settings) as server, client(server) as http:
        while settled(http, a_run(http))["status"] != "completed":
            continue  # The first of a server waits for its job engine: on a busy machine longer than a run has here.
        upstream.reset()
        yield server


def answered(http: httpx.Client, run: Json) -> Json:
    (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "rain"}]
    assert http.post(f"{run_path(run)}/submit_tool_outputs", json={"tool_outputs": outputs}).status_code == 200
    return settled(http, run)


@pytest.mark.parametrize("jump", [signal.SIGUSR1, signal.SIGUSR2], ids=["forwards", "back"])
def test_a_clock_that_jumps_ends_no_run_and_spares_none(
    server: Everloom, upstream: ScriptedUpstream, jump: signal.Signals
) -> None:
    upstream.script(Calls(("weather", {"city": "Oslo"})), Hangs(3))
    with client(server) as http:
        waiting = settled(http, a_run(http, tools=[WEATHER]), "requires_action")
        began = time.monotonic()
        working = a_run(http)
        assert upstream.wait(lambda: len(upstream.requests) == 2, 30)
        time.sleep(1.5)  # the sweeps know both
        os.kill(server.pid, jump)
        time.sleep(LOOKED_SECONDS)
        states = [fetched(http, run_path(run))["status"] for run in (waiting, working)]
        assert states == ["requires_action", "in_progress"]
        upstream.script(Says("It rains."), Says("Hello."))
        assert answered(http, waiting)["status"] == "completed"
        assert settled(http, a_run(http))["status"] == "completed"  # begun on the other day
        run = settled(http, working, seconds=RUN_SECONDS + SLACK_SECONDS)
        assert run["status"] == "expired"
        assert time.monotonic() - began >= RUN_SECONDS - 2


@pytest.mark.parametrize("jump", [signal.SIGUSR1, signal.SIGUSR2], ids=["forwards", "back"])
def test_a_clock_that_jumps_opens_no_limit_and_shuts_none(
    server: Everloom, upstream: ScriptedUpstream, jump: signal.Signals
) -> None:
    with admin_of(server) as admin, client(server) as http:
        for model, limit in (("gpt-4o", 2), ("gpt-4-turbo", 4)):
            path = f"{PROJECTS}/proj_default/rate_limits/rl-{model}"
            posted(admin, path, {"max_requests_per_1_minute": limit, "max_requests_per_1_day": 1000})
        for model in ("gpt-4o", "gpt-4-turbo"):
            for _ in range(2):
                assert http.post("/chat/completions", json=ask("Hello!", model=model)).status_code == 200
        os.kill(server.pid, jump)
        time.sleep(1.5)
        refused(http.post("/chat/completions", json=ask("Hello!")), 429, "rate_limit_exceeded")
        for _ in range(2):
            assert http.post("/chat/completions", json=ask("Hello!", model="gpt-4-turbo")).status_code == 200
        refused(http.post("/chat/completions", json=ask("Hello!", model="gpt-4-turbo")), 429, "rate_limit_exceeded")
