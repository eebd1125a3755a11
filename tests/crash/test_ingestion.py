"""A server dies while it reads files into a store: the next one ends the work, and no chunk stands twice."""

import sqlite3
import time
from pathlib import Path

import httpx
import pytest

from tests.builders import fetched, posted
from tests.postgres import fresh_database
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.stores import a_file, counts, found, ready

FILES = 30
WORDS = 400
"""Of each file, in chunks of 100 tokens: about five chunks, several vectors' worth of waiting."""


def text(number: int) -> str:
    return " ".join(f"word{number}x{place}" for place in range(WORDS))


def begun(http: httpx.Client) -> tuple[str, list[str]]:
    """A store whose files are being read."""
    ids = [a_file(http, text(number), f"{number}.txt") for number in range(FILES)]
    chunking = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}}
    store = posted(http, "/vector_stores", {"file_ids": ids, "chunking_strategy": chunking})
    return store["id"], ids


def seen_through(http: httpx.Client, store_id: str) -> None:
    """The whole of the store is there, once."""
    store = ready(http, {"id": store_id}, seconds=60)
    assert store["file_counts"] == counts(completed=FILES)
    files = fetched(http, f"/vector_stores/{store_id}/files", limit=100)["data"]
    assert {file["status"] for file in files} == {"completed"}
    assert store["usage_bytes"] == sum(file["usage_bytes"] for file in files)
    for number in range(0, FILES, 7):
        results = found(http, store, f"word{number}x{WORDS // 2}", max_num_results=50)
        own = [result["content"][0]["text"] for result in results if result["filename"] == f"{number}.txt"]
        assert own
        assert len(set(own)) == len(own)


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.8, 1.5])
def test_files_are_read_once_however_often_the_server_dies(tmp_path: Path, seconds: float) -> None:
    with ScriptedUpstream() as upstream:
        settings = {"upstream": upstream.url, "embedding_model": "scripted"}
        upstream.embedding_delay = 0.05
        server = Everloom(tmp_path, **settings).start()
        with client_of(server) as http:
            store_id, _ = begun(http)
        time.sleep(seconds)
        server.kill()
        again = Everloom(tmp_path, **settings).start()
        time.sleep(0.5)
        again.kill()
        with Everloom(tmp_path, **settings) as last, client_of(last) as http:
            seen_through(http, store_id)
    with sqlite3.connect(tmp_path / "vectors.db") as connection:
        rows = connection.execute("SELECT file_id, position, count(*) FROM chunks GROUP BY 1, 2").fetchall()
        words = connection.execute("SELECT count(*) FROM texts").fetchone()
        indexed = connection.execute("SELECT count(*) FROM store_words").fetchone()
        connection.execute("INSERT INTO store_words (store_words) VALUES ('integrity-check')")
    connection.close()
    assert len({file_id for file_id, _, _ in rows}) == FILES
    assert {times for _, _, times in rows} == {1}
    assert words == indexed == (len(rows),)


def test_a_worker_takes_over_from_one_that_died(tmp_path: Path) -> None:
    with ScriptedUpstream() as upstream:
        settings = {"upstream": upstream.url, "embedding_model": "scripted", "database": fresh_database()}
        upstream.embedding_delay = 0.05
        first = Everloom(tmp_path, command="worker", **settings)
        second = Everloom(tmp_path, command="worker", **settings)
        with Everloom(tmp_path, arguments=("--no-worker",), **settings) as server, client_of(server) as http:
            first.start()
            store_id, _ = begun(http)
            while fetched(http, f"/vector_stores/{store_id}")["file_counts"]["completed"] < 3:
                time.sleep(0.02)
            first.kill()
            with second:
                seen_through(http, store_id)
