"""What a serving process does with objects that only hold each other: a real server with routes that make some."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from everloom.cli.garbage import BODY_BYTES, THRESHOLDS
from tests.servers import Everloom


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("garbage")
    with (
        Everloom(folder, module="tests.cli.garbage_server", fetch_weights="no") as server,
        httpx.Client(base_url=server.url.removesuffix("/v1"), timeout=60) as client,
    ):
        yield client


def told(http: httpx.Client) -> Any:
    return http.get("/garbage").json()


def test_what_a_start_leaves_is_passed_over_from_then_on(http: httpx.Client) -> None:
    now = told(http)
    assert now["enabled"]
    assert now["thresholds"] == list(THRESHOLDS)
    assert now["frozen"] > 50_000


def test_circles_that_might_hold_bodies_go_with_so_many_bytes(http: httpx.Client) -> None:
    http.post("/circles", content=b"1")
    block = bytes(BODY_BYTES // 4)
    for _ in range(4):
        assert http.post("/bodies", content=block).status_code == 200
    assert told(http)["alive"] == 0


def test_bodies_of_refused_requests_go_at_once(http: httpx.Client) -> None:
    assert http.post("/refused", content=b"x" * 1000).status_code == 400
    assert told(http)["alive"] == 0


def test_a_request_that_its_handler_asked_for_goes_at_once(http: httpx.Client) -> None:
    assert http.post("/itself", content=b"x" * 100).status_code == 200
    assert told(http)["alive"] == 0


def test_circles_go_all_the_same(http: httpx.Client) -> None:
    made, each = 0, 1000  # The last of these tests: some of them stay.
    while told(http)["alive"] == made and made < 3 * THRESHOLDS[0]:
        assert http.post("/circles", content=b"%d" % each).status_code == 200
        made += each
    assert told(http)["alive"] < made
