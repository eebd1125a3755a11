"""``everloom usage`` against a running server."""

import json
import time
from pathlib import Path

from tests.builders import posted
from tests.cli.programs import everloom
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, API_KEY, Everloom
from tests.servers import http as client_of

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}


def test_what_was_used_is_a_table_and_json(server: Everloom, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    with client_of(server) as http:
        posted(http, "/chat/completions", HELLO)
    time.sleep(0.1)
    known = ("usage", "completions", "--url", server.url, "--group-by", "model,project_id", "--days", "2")
    table = everloom(tmp_path, *known, admin_key=ADMIN_KEY)
    assert (table.returncode, table.stderr) == (0, "")
    assert "gpt-4o" in table.stdout
    assert "day (UTC)" in table.stdout
    told = everloom(tmp_path, *known, "--json", "--key", ADMIN_KEY)
    buckets = json.loads(told.stdout)
    assert len(buckets) == 2
    assert "gpt-4o" in {result["model"] for bucket in buckets for result in bucket["results"]}
    costs = everloom(tmp_path, "usage", "costs", "--url", server.url, admin_key=ADMIN_KEY)
    assert "$" in costs.stdout
    none = everloom(tmp_path, "usage", "audio_speeches", "--url", server.url, "--days", "1", admin_key=ADMIN_KEY)
    assert none.returncode == 0


def test_what_was_used_is_read_from_the_database(
    sqlite_server: Everloom, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    with client_of(sqlite_server) as http:
        posted(http, "/chat/completions", HELLO)
    time.sleep(0.1)
    known = ("usage", "completions", "--group-by", "model,project_id,api_key_id", "--days", "40", "--json")
    read = json.loads(sqlite_server.command(*known))
    asked = json.loads(sqlite_server.command(*known, "--url", sqlite_server.url))
    assert [bucket["results"] for bucket in read] == [bucket["results"] for bucket in asked]
    assert len(read) == 40
    assert "gpt-4o" in {result["model"] for bucket in read for result in bucket["results"]}
    everloom(tmp_path, "migrate")
    assert everloom(tmp_path, "usage", "costs").stdout == "No costs in this time.\n"
    assert "Invalid value: 'colour'" in everloom(tmp_path, "usage", "--group-by", "colour").stderr
    # No id is broken where nobody looks at a terminal.
    assert "proj_default" in sqlite_server.command(*known[:-1]).replace("│", " ").split()
    assert "key_everloom_api_key" in sqlite_server.command(*known[:-1]).replace("│", " ").split()


def test_what_cannot_be_asked_is_one_line(server: Everloom, tmp_path: Path) -> None:
    assert "is asked with an admin key" in everloom(tmp_path, "usage", "--url", server.url).stderr
    assert everloom(tmp_path, "usage", "colours").returncode == 2
    refused = everloom(tmp_path, "usage", "--url", server.url, "--key", API_KEY)
    assert refused.returncode == 1
    assert "insufficient permissions" in refused.stderr
    nobody = everloom(tmp_path, "usage", "--url", "http://127.0.0.1:1/v1", "--key", ADMIN_KEY)
    assert nobody.returncode == 1
    assert "cannot be asked" in nobody.stderr
    wrong = everloom(tmp_path, "usage", "--url", server.url, "--key", ADMIN_KEY, "--group-by", "colour")
    assert "Invalid value: 'colour'" in wrong.stderr
