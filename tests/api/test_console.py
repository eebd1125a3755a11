"""The console's files over real sockets, and what of a server has them."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from everloom.api.console import FOLDER, console_routes
from everloom.app.http import ROUTES
from everloom.models.registry import Models
from tests.servers import ROOT, Everloom
from tests.serving import Serving

FILES = {
    "index.html": ("<!doctype html><title>ü</title>", "text/html; charset=utf-8"),
    "app.js": ("export {};", "text/javascript; charset=utf-8"),
    "style.css": ("body { margin: 0 }", "text/css; charset=utf-8"),
    "vendor/one/logo.svg": ("<svg/>", "image/svg+xml"),
}
HIDDEN = ("LICENSE", ".env", "notes.md", "vendor/one/app.js.map")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server's address, with a console of a few files."""
    folder = tmp_path_factory.mktemp("console")
    contents = {name: file[0] for name, file in FILES.items()} | dict.fromkeys(HIDDEN, "secret")
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    (folder.parent / "outside.js").write_text("secret")
    (folder / "linked.js").symlink_to(folder.parent / "outside.js")
    with Serving(tmp_path_factory.mktemp("serving"), Models(()), (*ROUTES, *console_routes(folder))) as serving:
        yield serving.url.removesuffix("/v1")


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_with_its_type_and_what_it_may_do(url: str, name: str) -> None:
    content, media_type = FILES[name]
    answer = httpx.get(f"{url}/console/{name}")
    assert (answer.status_code, answer.text) == (200, content)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_client_that_has_it_is_told_so_until_it_changes(url: str, tmp_path: Path) -> None:
    first = httpx.get(f"{url}/console/app.js")
    tag = first.headers["etag"]
    for asked in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = httpx.get(f"{url}/console/app.js", headers={"if-none-match": asked})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["content-security-policy"] == POLICY
    assert httpx.get(f"{url}/console/app.js", headers={"if-none-match": '"other"'}).status_code == 200
    assert httpx.get(f"{url}/console/style.css").headers["etag"] != tag


def test_a_head_is_the_answer_without_its_body_and_leaves_the_connection_usable(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        for path in ("/console/", "/console/app.js"):
            whole, head = client.get(path), client.head(path)
            assert head.content == b""
            names = ("content-type", "content-length", "etag", "content-security-policy")
            assert [head.headers[name] for name in names] == [whole.headers[name] for name in names]
            assert client.head(path, headers={"if-none-match": head.headers["etag"]}).status_code == 304
            assert client.get("/healthz").json() == {"status": "alive"}


@pytest.mark.parametrize("path", ["/", "/?from=here", "/console", "/console?x=1", "//console"])
def test_paths_lead_to_the_console(url: str, path: str) -> None:
    answer = httpx.get(url + path)
    assert answer.status_code == 307
    there = httpx.get(url + path, follow_redirects=True)
    assert there.text == FILES["index.html"][0]
    assert there.url.path == "/console/"


@pytest.mark.parametrize(
    "path",
    [
        *(f"/console/{name}" for name in (*HIDDEN, "linked.js", "vendor", "vendor/one/", "nothing.js", "..", "%00")),
        *("/console/../outside.js", "/console/..%2foutside.js", "/console/%2e%2e/outside.js", "/console/app.js%00"),
        *("/console/..%5coutside.js", "/console/vendor/../../outside.js", "/console//etc/passwd", "/app.js"),
    ],
)
def test_what_is_no_file_of_it_is_no_path(url: str, path: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    # Not by a client that would tidy the path up before it asks.
    command = [sys.executable, "-c", _RAW, host, port, path]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.startswith("404 ")
    assert "Invalid URL (GET " in told
    assert "secret" not in told


_RAW = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=30)
connection.putrequest("GET", sys.argv[3], skip_accept_encoding=True)
connection.endheaders()
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


def test_nothing_is_put_there(url: str) -> None:
    answer = httpx.post(f"{url}/console/app.js", content=b"x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert httpx.get(f"{url}/v1/").status_code == 404
    assert httpx.get(f"{url}/v1").status_code == 404
    assert not any("console" in path for path in httpx.get(f"{url}/openapi.json").json()["paths"])


def test_a_server_says_where_it_is_or_has_none(server: Everloom, tmp_path: Path) -> None:
    root = server.url.removesuffix("/v1")
    assert f"everloom: console on {root}/console/\n" in server.output
    if FOLDER.is_dir():
        page = httpx.get(root, follow_redirects=True)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        for name in re.findall(r'(?:src|href)="([^"#:]+)"', page.text):
            assert httpx.get(page.url.join(name)).status_code == 200, name
    with Everloom(tmp_path, console="off") as without:
        assert not any("console" in line for line in without.output)
        for path in ("/", "/console", "/console/", "/console/app.js"):
            answer = httpx.get(without.url.removesuffix("/v1") + path)
            assert answer.status_code == 404
            assert answer.json()["error"]["message"] == f"Invalid URL (GET {path})"


def test_a_wheel_carries_every_file_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    built = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False, timeout=300)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("everloom-*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    ours = {path.relative_to(FOLDER.parents[1]).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert ours <= carried
