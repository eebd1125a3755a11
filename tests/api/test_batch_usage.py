"""What lines of batches have used: told apart from live requests, and billed at the price's share for batches."""

import time
from pathlib import Path

import httpx
import pytest

from tests.batches import a_batch, a_line, ended
from tests.builders import Json, fetched, posted
from tests.replies import Fails, Says
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as client_of

PRICES = """
[[prices]]
model = "gpt-4o"
input = 2.5
output = 10
batch = 0.5
[[prices]]
model = "scripted"
input = 100
batch = 0.25
"""
DAY = 86_400


def midnight() -> int:
    return int(time.time()) // DAY * DAY


def used(admin: httpx.Client, kind: str, **query: str) -> list[Json]:
    """The results of today's bucket of a kind of usage, or of costs."""
    found = fetched(admin, f"/organization/{kind}", start_time=midnight(), **query)
    return [result for bucket in found["data"] for result in bucket["results"]]


def counted(admin: httpx.Client, requests: int) -> list[Json]:
    """Those of completions by batch, once there are so many requests: a live one is entered soon after its answer."""
    deadline = time.monotonic() + 60
    while True:
        results = used(admin, "usage/completions", group_by="batch")
        if sum(result["num_model_requests"] for result in results) >= requests:
            return results
        assert time.monotonic() < deadline, results
        time.sleep(0.02)


def test_what_a_batch_has_used_is_told_apart_and_costs_its_share(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    file = tmp_path / "everloom.toml"
    file.write_text(PRICES)
    settings = {"upstream": upstream.url, "embedding_model": "scripted", "default_prices": "false"}
    with (
        Everloom(tmp_path, arguments=("--config", str(file)), **settings) as server,
        client_of(server) as http,
        client_of(server, ADMIN_KEY, beta=None) as admin,
    ):
        upstream.rule(lambda body: Says("one two three four", prompt_tokens=1000))
        posted(http, "/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]})
        batch = ended(http, a_batch(http, [a_line(number) for number in range(10)]))
        tokens = {name: count for name, count in batch["usage"].items() if not name.endswith("_details")}
        assert tokens == {"input_tokens": 10_000, "output_tokens": 40, "total_tokens": 10_040}

        by_batch = {result["batch"]: result for result in counted(admin, 11)}
        shown = {
            is_batch: (result["num_model_requests"], result["input_tokens"], result["output_tokens"])
            for is_batch, result in by_batch.items()
        }
        assert shown == {False: (1, 1000, 4), True: (10, 10_000, 40)}
        (only,) = used(admin, "usage/completions", batch="true", group_by="batch,model,project_id,api_key_id,user_id")
        assert (only["num_model_requests"], only["batch"], only["model"]) == (10, True, "gpt-4o")
        # To whom a line is counted is whoever made the batch.
        (live,) = used(admin, "usage/completions", batch="false", group_by="project_id,api_key_id,user_id")
        for name in ("project_id", "api_key_id", "user_id"):
            assert only[name] == live[name]
            assert only[name]

        costs = {cost["line_item"]: cost["amount"]["value"] for cost in used(admin, "costs", group_by="line_item")}
        live_input, live_output = 1000 * 2.5e-6, 4 * 10e-6
        assert sum(costs.values()) == pytest.approx((1 + 10 / 2) * (live_input + live_output))
        assert costs["gpt-4o, input"] == pytest.approx(6 * live_input)
        assert costs["gpt-4o, output"] == pytest.approx(6 * live_output)


def test_vectors_of_a_batch_cost_their_share(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    file = tmp_path / "everloom.toml"
    file.write_text(PRICES)
    settings = {"upstream": upstream.url, "embedding_model": "scripted", "default_prices": "false"}
    with (
        Everloom(tmp_path, arguments=("--config", str(file)), **settings) as server,
        client_of(server) as http,
        client_of(server, ADMIN_KEY, beta=None) as admin,
    ):
        body = {"model": "scripted", "input": ["one two", "three"]}
        line = {"custom_id": "v", "method": "POST", "url": "/v1/embeddings", "body": body}
        batch = ended(http, a_batch(http, [line], "/v1/embeddings"))
        (result,) = used(admin, "usage/embeddings")
        assert result["input_tokens"] == batch["usage"]["input_tokens"] > 0
        (cost,) = used(admin, "costs")
        assert cost["amount"]["value"] == pytest.approx(result["input_tokens"] * 100e-6 * 0.25)


def test_a_line_that_was_refused_has_used_nothing(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.rule(lambda body: Fails(400, "no"))
    with (
        Everloom(tmp_path, upstream=upstream.url) as server,
        client_of(server) as http,
        client_of(server, ADMIN_KEY, beta=None) as admin,
    ):
        batch = ended(http, a_batch(http, [a_line(1), a_line(2, temperature=9)]))
        assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
        assert batch["usage"]["total_tokens"] == 0
        assert [result["input_tokens"] for result in used(admin, "usage/completions", batch="true")] in ([], [0])
        assert sum(cost["amount"]["value"] for cost in used(admin, "costs")) == 0
