"""Behind a proxy: nginx as its package sets it up, nginx and Caddy by the files of deploy/. All real."""

import hashlib
import json
import os
import re
from collections.abc import Iterator

import httpx
import pytest

from everloom.config import Settings
from tests.builders import a_thread, an_assistant
from tests.pictures import drawing_bytes
from tests.proxies import DEPLOY, Proxy, default_nginx, our_caddy, our_nginx
from tests.scripted import Hangs, Says, ScriptedUpstream
from tests.servers import ADMIN_KEY, API_KEY, Everloom

PATIENCE = 60.0
KINDS = {"default nginx": default_nginx, "deploy/nginx.conf": our_nginx, "deploy/Caddyfile": our_caddy}
OURS = [name for name in KINDS if name.startswith("deploy/")]


@pytest.fixture(scope="module", params=KINDS)
def proxy(
    request: pytest.FixtureRequest, sqlite_server: Everloom, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with KINDS[request.param](sqlite_server.url, tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture
def http(proxy: Proxy) -> Iterator[httpx.Client]:
    """A client of the server, through the proxy."""
    headers = {"authorization": f"Bearer {API_KEY}", "openai-beta": "assistants=v2"}
    with httpx.Client(base_url=proxy.url, headers=headers, timeout=PATIENCE, verify=proxy.trust) as client:
        yield client


only_ours = pytest.mark.parametrize("proxy", OURS, indirect=True)
HELD_BACK = Hangs(3, Says("one two three four five"))
"""An answer of which the model keeps the rest to itself."""


def test_the_first_words_come_while_the_rest_is_still_to_be_said(
    http: httpx.Client, upstream: ScriptedUpstream
) -> None:
    """A proxy that waits for a block to be full, or for the end, would never let this client see a word."""
    upstream.script(HELD_BACK)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Count"}], "stream": True}
    with http.stream("POST", "/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        chunks = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))
        assert next(text for chunk in chunks if (text := chunk["choices"][0]["delta"].get("content"))) == "one"
        assert upstream.active == 1
    # The client has left: the proxy must say so, and the model be told to stop.
    assert upstream.wait(lambda: len(upstream.disconnects) == 1 and upstream.active == 0, PATIENCE)


def test_a_run_is_streamed_step_by_step(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.script(HELD_BACK)
    thread, assistant = a_thread(http, "Count"), an_assistant(http)
    path = f"/threads/{thread['id']}/runs"
    with http.stream("POST", path, json={"assistant_id": assistant["id"], "stream": True}) as answer:
        names = (line[7:] for line in answer.iter_lines() if line.startswith("event: "))
        seen = []
        for name in names:
            seen.append(name)
            if name == "thread.message.delta":
                break
        assert seen[:3] == ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
        assert upstream.active == 1
        run = http.get(path).json()["data"][0]
        assert http.post(f"{path}/{run['id']}/cancel").status_code == 200
        assert [*names][-2:] == ["thread.run.cancelled", "done"]


@only_ours
def test_a_large_file_passes(http: httpx.Client) -> None:
    content = os.urandom(1 << 20) * 40
    sent = http.post("/files", files={"file": ("large.bin", content)}, data={"purpose": "assistants"})
    assert sent.status_code == 200, sent.text
    assert sent.json()["bytes"] == len(content)
    with http.stream("GET", f"/files/{sent.json()['id']}/content") as answer:
        got = hashlib.sha256()
        for block in answer.iter_bytes():
            got.update(block)
    assert got.digest() == hashlib.sha256(content).digest()
    http.delete(f"/files/{sent.json()['id']}")


@pytest.mark.parametrize("proxy", ["default nginx"], indirect=True)
def test_what_a_default_nginx_leaves_to_be_changed(
    http: httpx.Client, proxy: Proxy, upstream: ScriptedUpstream, server: Everloom
) -> None:
    """The table of docs/operating.md: bodies over a megabyte, links, and metrics that everybody reads."""
    sent = http.post("/files", files={"file": ("large.bin", bytes(2 << 20))}, data={"purpose": "assistants"})
    assert (sent.status_code, sent.headers["content-type"]) == (413, "text/html")
    upstream.serve("/images/generations", drawing_bytes)
    (image,) = http.post("/images/generations", json={"prompt": "An otter"}).json()["data"]
    assert image["url"].startswith(f"{server.url}/")
    assert httpx.get(f"{proxy.url.removesuffix('/v1')}/metrics").status_code == 200


@only_ours
def test_links_begin_with_the_address_of_the_proxy(
    http: httpx.Client, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.serve("/images/generations", drawing_bytes)
    (image,) = http.post("/images/generations", json={"prompt": "An otter"}).json()["data"]
    assert image["url"].startswith(f"{proxy.url}/")
    assert proxy.url.startswith("https://")
    picture = http.get(image["url"])
    assert picture.status_code == 200
    assert picture.headers["content-type"] == "image/png"


def test_the_console_is_reached(http: httpx.Client, proxy: Proxy) -> None:
    """The address alone leads there, at the proxy's own scheme, host and port."""
    answer = http.get(f"{proxy.url.removesuffix('v1')}", follow_redirects=True)
    assert (answer.status_code, str(answer.url)) == (200, f"{proxy.url.removesuffix('v1')}console/")
    assert answer.headers["content-type"].startswith("text/html")


@only_ours
def test_metrics_are_not_everybodys(http: httpx.Client, proxy: Proxy) -> None:
    """The server would take all of a proxy's clients for programs on this machine, if it were not told."""
    url = f"{proxy.url.removesuffix('/v1')}/metrics"
    assert http.get(url).status_code in (401, 403)
    assert http.get(url, headers={"authorization": f"Bearer {ADMIN_KEY}"}).status_code == 200


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([smh]?)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"": 1, "s": 1, "m": 60, "h": 3600}[unit]


def test_the_files_leave_time_and_room_for_what_the_server_allows() -> None:
    nginx, caddy = (DEPLOY / "nginx.conf").read_text(), (DEPLOY / "Caddyfile").read_text()
    settings = Settings()
    for directive in ("proxy_read_timeout", "proxy_send_timeout"):
        (given,) = re.findall(rf"{directive} (\w+);", nginx)
        assert seconds(given) > max(settings.run_expires, settings.upstream_timeout)
    assert not re.search(r"^\s*(read|write|response_header|idle)_timeout|^\s*flush_interval", caddy, re.MULTILINE)
    for text, pattern in ((nginx, r"client_max_body_size (\d+)m;"), (caddy, r"max_size (\d+)MiB")):
        (megabytes,) = re.findall(pattern, text)
        assert int(megabytes) << 20 > settings.max_file_bytes


KEPT_SECONDS = 5
"""How long the server keeps an idle connection: uvicorn's own number."""


def test_the_files_close_idle_connections_before_the_server_does() -> None:
    import uvicorn

    assert uvicorn.Config("").timeout_keep_alive == KEPT_SECONDS
    for name, pattern in (("nginx.conf", r"\n +keepalive_timeout (\w+);"), ("Caddyfile", r"\bkeepalive (\w+) ")):
        (given,) = re.findall(pattern, (DEPLOY / name).read_text())
        assert seconds(given) < KEPT_SECONDS
