"""What the real platform answered, answered again: each recorded exchange is replayed against this server.

Same status, same members, same nulls, same error texts, same events in the same order. Where we answer
otherwise, ``ALLOWED`` says so and why; what cannot be replayed is in ``ELSEWHERE``.
"""

import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.scripted import ScriptedUpstream
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of
from tests.spec.comparison import Difference, of_headers, of_streams, of_values
from tests.spec.preconditions import PNG, PREPARED, is_untouched, request, world
from tests.spec.spec import needs_spec
from tests.spec.traffic import Exchange, recorded

GROUPS = (
    *("assistants", "threads", "files", "vector_stores", "chat", "embeddings", "images", "models", "moderations"),
    *("batches", "fine_tuning"),
)
"""The first segments of the paths whose exchanges are replayed."""

ELSEWHERE: dict[str, str] = {
    "v6.5.0/http_get_with_error_response": "never said by the platform: a stub that the recorder's own tests put there",
    "v7.4.0/vector_store_file_batches_list/1": "an error of the platform's own",
    "v7.4.0/assistant_file_search_step_retrieve/3": "shows what a search of a vector store found",
}
"""Exchanges that are not replayed, and why."""

_AT_ONCE = "the platform looked through such files for a moment; here a file is ready when its upload is answered"
_MODEL = "the answer's body says which model it was"
_CACHE = "nobody keeps an answer to a POST; a stream says no-cache to the proxies that would hold it back"
_BATCH = "the reference and the official clients say vector_store.files_batch"
_DIMENSIONS = "their vectors had 256 numbers, those of the tests' model have 64"
_NUMBERS = "another model's vector: theirs had 2 048 and 1 536 numbers, those of the tests' model have 64"
_SCORES = "another model's: what is compared is that nothing is flagged"
_REASON = "said max_prompt_tokens where 16 of 16 completion tokens were spent; we say which budget it was"

ALLOWED: tuple[tuple[str, str, str], ...] = (
    ("v6.5.0/files_delete_upload", r"status", _AT_ONCE),
    ("v6.5.0/files_list", r"data\[0\].status", _AT_ONCE),
    ("v6.5.0/files_retrieve_upload", r"status", _AT_ONCE),
    ("v6.5.0/files_upload", r"status", _AT_ONCE),
    *(
        (f"v6.5.0/gpt-3_5-turbo{chat}_chat", rf"header\.{header}", reason)
        for chat in ("-0301", "_streamed", "_valid_tool_call")
        for header, reason in (("openai-model", _MODEL), ("cache-control", _CACHE))
    ),
    (
        "v7.0.0/text-embedding-ada-002_embeddings_the_food_was_delicious_and_the_waiter_",
        r"header\.openai-model",
        _MODEL,
    ),
    *(
        (f"{made}_embeddings_the_food_was_delicious_and_the_waiter_", r"data\[0\]\.embedding", _NUMBERS)
        for made in ("v6.5.0/babbage-similarity", "v7.0.0/text-embedding-ada-002")
    ),
    ("v7.4.0/assistant_file_search_assistant_setup", r".*vector_store_ids\[0\]", "an id"),
    *(
        (f"v7.4.0/vector_store_file_batches_{verb}", r"object", _BATCH)
        for verb in ("cancel", "retrieve", "retrieve_vector_store_file_batch_setup")
    ),
    ("v8.3.0/moderations_have_a_great_day_", r"results\[0\]\.category_scores\..*", _SCORES),
    ("v7.4.0/files_list/1", r"data\[0\]\.bytes", "the metrics of a longer training"),
    ("v7.4.0/vector_store_files_list", r"data\[0\]\.usage_bytes", _DIMENSIONS),
    ("v7.4.0/vector_store_files_retrieve", r"usage_bytes", _DIMENSIONS),
    ("v7.0.0/runs_streamed_create", r"event\.thread\.run\.completed\.incomplete_details\.reason", _REASON),
    ("v7.4.0/runs_streamed_create/3", r"event\.thread\.run\.completed\.incomplete_details\.reason", _REASON),
    (
        "v7.4.0/runs_streamed_create/3",
        r"event\.10",
        "v2 was twelve days old and named the end of an incomplete run as v1 did; the reference names it incomplete",
    ),
    (
        "v7.4.0/messages_modify/4",
        r"file_ids",
        "v2 was twelve days old: its modified messages were still shown as in v1, its new ones no longer",
    ),
    *(
        (f"v8.3.0/batches_{verb}_input", r"expires_at", "files began to expire in 2025, after the reference we follow")
        for verb in ("cancel", "create", "list", "retrieve")
    ),
)
"""(exchange's name, pattern of the differences' paths, why they are meant)."""


def _of_our_groups() -> list[Exchange]:
    return [exchange for exchange in recorded() if exchange.path.split("/")[1] in GROUPS]


@pytest.fixture(scope="module")
def idle_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server of which nobody works on batches, so that they stay as they were recorded: moments old."""
    with Everloom(tmp_path_factory.mktemp("idle"), arguments=("--no-worker",)) as server:
        yield server


@pytest.fixture
def place(exchange: Exchange, request: pytest.FixtureRequest) -> tuple[Everloom, str]:
    """The server that an exchange is replayed at, and a key; lists of batches are those of a project of their own."""
    is_idle = exchange.path.startswith("/batches") and is_untouched(exchange)
    found: Everloom = request.getfixturevalue("idle_server" if is_idle else "sqlite_server")
    if exchange.template != "GET /batches":
        return found, API_KEY
    return found, found.command("keys", "create", "--project", f"recorded {time.time_ns()}").split()[-1]


@needs_spec
@pytest.mark.parametrize(
    "exchange",
    [exchange for exchange in _of_our_groups() if exchange.name not in ELSEWHERE],
    ids=lambda exchange: exchange.name,
)
def test_the_answer_is_the_recorded_one(
    exchange: Exchange, place: tuple[Everloom, str], upstream: ScriptedUpstream
) -> None:
    server, key = place
    beta = None if exchange.beta is None else BETA.get(exchange.name, exchange.beta)
    with (
        client_of(server, key) as http,
        world(http, upstream) as here,
        client_of(server, key, beta) as caller,
    ):
        asked = request(here, exchange)
        answer = caller.request(exchange.method, asked.path, content=asked.content, headers=asked.headers)
        here.hold(answer)
    assert answer.status_code == exchange.status, answer.text
    allowed = {pattern for name, pattern, _ in ALLOWED if name == exchange.name}
    wrong, used = [], set()
    for difference in _differences(exchange, answer):
        by = {pattern for pattern in allowed if re.fullmatch(pattern, difference.path)}
        used |= by
        if not by:
            wrong.append(str(difference))
    assert not wrong, "\n".join(wrong)
    assert used == allowed, f"no longer needed in ALLOWED: {allowed - used}"


BETA = {
    # Says v2, but was answered in November 2023, when there was only v1: the answer has v1's file_ids.
    "v7.4.0/messages_delete_message_setup": "assistants=v1",
}
"""Exchanges whose request was recorded with another header than the one it was answered by."""


def _differences(exchange: Exchange, answer: httpx.Response) -> Iterator[Difference]:
    yield from of_headers(exchange.headers, answer.headers)
    kind = exchange.headers["content-type"].partition(";")[0]
    if kind == "text/event-stream":
        yield from of_streams(exchange.body, answer.text)
    elif kind == "application/json":
        yield from of_values(exchange.json(), json.loads(answer.content))
    elif answer.content != PNG:
        yield Difference("body", "what was uploaded", answer.content)


@needs_spec
def test_every_exchange_is_replayed_or_its_reason_told() -> None:
    exchanges = {exchange.name: exchange for exchange in _of_our_groups()}
    assert len(exchanges) == 194
    assert len(recorded()) == 200
    assert ELSEWHERE.keys() <= exchanges.keys()
    assert BETA.keys() <= exchanges.keys()
    replayed = exchanges.keys() - ELSEWHERE.keys()
    assert {exchanges[name].template for name in replayed} <= PREPARED.keys()
    assert PREPARED.keys() <= {exchanges[name].template for name in replayed}
    assert {name for name, _, _ in ALLOWED} <= replayed
