"""The operator's secrets reach no client and no log, whatever an upstream says about them."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.bad_upstream import BadUpstream, bad_upstream
from tests.builders import a_run, a_thread, an_assistant, settled
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of

KEY = 'up+stream/9f86d081"884c7d65'
ENTRY = "entry-key-2c26b46b68ffc68f"


@pytest.fixture(scope="module")
def bad() -> Iterator[BadUpstream]:
    with bad_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(bad: BadUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "everloom.toml").write_text(
        f'[[models]]\nid = "named"\nbackend = "upstream"\nbase_url = "{bad.url}"\napi_key_env = "ENTRY_KEY"\n'
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ENTRY_KEY", ENTRY)
        settings = {"upstream": bad.url, "upstream_key": KEY, "fetch_weights": "no", "embedding_model": "m"}
        with Everloom(folder, **settings) as server:
            yield server


@pytest.fixture
def http(server: Everloom) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def error(text: str) -> bytes:
    return json.dumps({"error": {"message": text, "type": text, "param": text, "code": text}}).encode()


CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("status", [b"400 Bad Request", b"401 Unauthorized", b"429 Too Many", b"500 Broken", b"200 OK"])
@pytest.mark.parametrize("model", ["any", "named"])
def test_refusals_do_not_tell_a_key(http: httpx.Client, bad: BadUpstream, status: bytes, model: str) -> None:
    for key in (KEY, ENTRY, API_KEY):
        bad.says(error(f"the key {key} is bad"), status=status)
        for stream in (False, True):
            text = http.post("/chat/completions", json={"model": model, "stream": stream, **CHAT}).text
            assert json.dumps(key)[1:-1] not in text
            assert key not in text


@pytest.mark.parametrize("length", [480, 490, 497])
def test_texts_that_are_cut_do_not_tell_half_a_key(http: httpx.Client, bad: BadUpstream, length: int) -> None:
    bad.says(b"x" * length + KEY.encode() + b"y" * 500, kind=b"text/plain", status=b"500 Broken")
    assert KEY[:6] not in http.post("/chat/completions", json={"model": "any", **CHAT}).text


def test_an_error_in_the_middle_of_a_stream(http: httpx.Client, bad: BadUpstream) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunk["choices"] = [{"index": 0, "delta": {"content": "so far"}, "finish_reason": None}]  # type: ignore[assignment]
    told = b"data: " + error(f"the key {KEY} is bad") + b"\n\n"
    for at in (20, 40, 60):
        head = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        bad.says(head + told[:at], told[at:], kind=b"text/event-stream", pause=0.1)
        text = http.post("/chat/completions", json={"model": "any", "stream": True, **CHAT}).text
        assert "so far" in text
        assert "is bad" in text
        assert json.dumps(KEY)[1:-1] not in text


@pytest.mark.parametrize("status", [b"400 Bad Request", b"401 Unauthorized", b"200 OK"])
def test_a_run_does_not_keep_a_key(http: httpx.Client, bad: BadUpstream, status: bytes) -> None:
    kind = b"text/event-stream" if status == b"200 OK" else b"application/json"
    bad.says(
        (b"data: " if status == b"200 OK" else b"") + error(f"the key {KEY} is bad") + b"\n\n", status=status, kind=kind
    )
    run = settled(http, a_run(http, a_thread(http, "hi"), an_assistant(http, model="any")), "failed")
    assert status == b"200 OK" or "***" in run["last_error"]["message"]
    assert "9f86d081" not in json.dumps(run)


def test_nothing_of_it_is_logged(server: Everloom) -> None:
    assert "9f86d081" not in "".join(server.output)
    assert "2c26b46b" not in "".join(server.output)


def test_commands_do_not_tell_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.cli.programs import everloom

    folder = tmp_path_factory.mktemp("doctor")
    settings = {
        "upstream": "http://me:hush-hush@127.0.0.1:9/v1",
        "database": "postgresql://me:p%2Fss-word@127.0.0.1:1/none",
    }
    for arguments in (("doctor",), ("serve", "--port", "0"), ("migrate",), ("keys", "create")):
        done = everloom(folder, *arguments, **settings)
        told = done.stdout + done.stderr
        assert done.returncode != 0
        assert "hush-hush" not in told
        assert "p%2Fss" not in told
        assert "p/ss-word" not in told
