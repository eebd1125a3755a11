"""What hostile and mistaken callers send to the endpoints of models: each gets the platform's error, and harms nobody.

Asked of a server before an upstream and of one on the models in the box, which answers as well afterwards.
"""

import io
import struct
import wave
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.offers import png, serve_all, wav
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.weights import default_gguf

ALIASES = "*=smollm2-135m,*=all-minilm-l6-v2,*=espeak-ng,*=pocketsphinx"
HELLO = [{"role": "user", "content": "Hello"}]
ITSELF: dict[str, Any] = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
"""A schema that is nothing but itself."""


@pytest.fixture(scope="module")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    with Everloom(tmp_path_factory.mktemp("local"), weights=default_gguf().parent, aliases=ALIASES) as server:
        yield server


@pytest.fixture(params=["upstream", "local"])
def http(request: pytest.FixtureRequest, upstream: ScriptedUpstream) -> Iterator[httpx.Client]:
    """A client of a server on either kind of models."""
    serve_all(upstream)
    server: Everloom = request.getfixturevalue("server" if request.param == "upstream" else "local_server")
    with client_of(server) as client:
        yield client


def _is(http: httpx.Client, server: Everloom) -> bool:
    return str(http.base_url).startswith(server.url)


def lying_png() -> bytes:
    """Its header says 64 by 64; its data are of one line."""
    head = struct.pack(">IIBBBBB", 64, 64, 8, 6, 0, 0, 0)
    return _png(head, zlib.compress(b"\0" + b"\xff" * 256))


def bomb_png() -> bytes:
    """A few kilobytes that claim to be 60 000 by 60 000."""
    return _png(struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0), zlib.compress(bytes(10_000_000), 9))


def _png(head: bytes, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _chat(**fields: Any) -> dict[str, Any]:
    return {"json": {"model": "gpt-4o", "messages": HELLO, **fields}}


def _heard(name: str, content: bytes, **fields: Any) -> dict[str, Any]:
    return {"data": {"model": "whisper-1", **fields}, "files": {"file": (name, content)}}


def _picture(content: bytes, **fields: Any) -> dict[str, Any]:
    return {"data": fields, "files": {"image": ("a.png", content, "image/png")}}


def _format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}


CASES: dict[str, tuple[str, Callable[[], dict[str, Any]], str | None]] = {
    "n of 200": ("/chat/completions", lambda: _chat(n=200), "n"),
    "two limits": ("/chat/completions", lambda: _chat(max_tokens=1, max_completion_tokens=1), "max_tokens"),
    "top_logprobs alone": ("/chat/completions", lambda: _chat(top_logprobs=2), "top_logprobs"),
    "five stops": ("/chat/completions", lambda: _chat(stop=list("abcde")), "stop"),
    "a choice without tools": ("/chat/completions", lambda: _chat(tool_choice="auto"), "tool_choice"),
    "usage of no stream": (
        "/chat/completions",
        lambda: _chat(stream_options={"include_usage": True}),
        "stream_options",
    ),
    "completions, n of 200": ("/completions", lambda: {"json": {"model": "gpt-3.5-turbo-instruct", "n": 200}}, "n"),
    "best of fewer": (
        "/completions",
        lambda: {"json": {"model": "gpt-3.5-turbo-instruct", "prompt": "x", "n": 3, "best_of": 2}},
        "best_of",
    ),
    "3 000 inputs": (
        "/embeddings",
        lambda: {"json": {"model": "text-embedding-3-small", "input": ["x"] * 3000}},
        "input",
    ),
    "an empty input": ("/embeddings", lambda: {"json": {"model": "text-embedding-3-small", "input": ""}}, "input"),
    "nothing to judge": ("/moderations", lambda: {"json": {"input": []}}, "input"),
    "an unknown voice": (
        "/audio/speech",
        lambda: {"json": {"model": "tts-1", "voice": "nobody", "input": "Hi"}},
        "voice",
    ),
    "a long speech": (
        "/audio/speech",
        lambda: {"json": {"model": "tts-1", "voice": "alloy", "input": "a" * 5000}},
        "input",
    ),
    "five times as fast": (
        "/audio/speech",
        lambda: {"json": {"model": "tts-1", "voice": "alloy", "input": "Hi", "speed": 5}},
        "speed",
    ),
    "a renamed PNG": ("/audio/transcriptions", lambda: _heard("a.mp3", png(8)), "file"),
    "no bytes at all": ("/audio/transcriptions", lambda: _heard("a.wav", b""), "file"),
    "26 MB": ("/audio/transcriptions", lambda: _heard("a.wav", wav(0.1) + bytes(26 * 1024 * 1024)), "file"),
    "words of plain JSON": (
        "/audio/transcriptions",
        lambda: _heard("a.wav", wav(1.0), **{"timestamp_granularities[]": "word"}),
        "timestamp_granularities",
    ),
    "an unknown format": (
        "/audio/translations",
        lambda: _heard("a.wav", wav(1.0), response_format="doc"),
        "response_format",
    ),
    "a lying picture": ("/images/variations", lambda: _picture(lying_png()), "image"),
    "a bomb of a picture": ("/images/edits", lambda: _picture(bomb_png(), prompt="x"), "image"),
    "no picture": ("/images/variations", lambda: _picture(b"GIF89a"), "image"),
    "eleven pictures": ("/images/generations", lambda: {"json": {"prompt": "x", "n": 11}}, "n"),
    "no form": ("/images/variations", lambda: {"json": {"prompt": "x"}}, None),
    "nothing to edit": ("/images/edits", lambda: {"json": {"prompt": "x"}}, "images"),
    "a picture elsewhere": (
        "/images/edits",
        lambda: {"json": {"prompt": "x", "images": [{"image_url": "https://a.example/1.png"}]}},
        "images",
    ),
}
"""Where it is sent, what is sent, and the ``param`` of the error."""


LOCAL_ALONE = {"an unknown voice"}
"""An upstream may know more than the reference does."""


@pytest.mark.parametrize("name", CASES)
def test_the_caller_is_told_what_is_wrong(name: str, http: httpx.Client, local_server: Everloom) -> None:
    path, request, param = CASES[name]
    if name in LOCAL_ALONE and not _is(http, local_server):
        assert http.post(path, **request()).status_code == 200
        return
    answer = http.post(path, **request())
    assert answer.status_code in (400, 413), answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert param is None or (error["param"] or "").split("[")[0] == param


def test_a_schema_that_is_nothing_but_itself(http: httpx.Client, local_server: Everloom) -> None:
    """An upstream is handed on what may mean something to it; the model in the box cannot be held to it."""
    answer = http.post(
        "/chat/completions", json=_chat(response_format=_format(ITSELF), max_tokens=8)["json"], timeout=60
    )
    if _is(http, local_server):
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "response_format"
    else:
        assert answer.status_code == 200


QUOTED = 'a.wav"; name="model'


def test_names_in_a_form_stay_in_their_headers(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    request = {"data": {"model": "whisper-1"}, "files": {"file": ("a.wav", wav(0.1))}}
    assert http.post("/audio/transcriptions", **request | {"files": {"file": (QUOTED, wav(0.1))}}).status_code == 200
    for asked in upstream.others:
        assert [(part.name, part.filename) for part in asked.form] == [
            ("model", None),
            ("file", "a.wav%22; name=%22model"),
        ]
    for name in ('include["; name="model', "include[a", "include[a][b]", "prompt[\u0130]"):
        answer = http.post("/audio/transcriptions", **request | {"data": {"model": "whisper-1", name: "x"}})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_parameter")


def test_an_hour_of_silence_is_no_words(local_server: Everloom) -> None:
    with client_of(local_server) as client:
        answer = client.post("/audio/transcriptions", **_heard("a.wav", an_hour()), timeout=240)
        assert (answer.status_code, answer.json()["text"]) == (200, "")


def an_hour() -> bytes:
    """Of silence, as eight bits at 6 kHz, which is just less than the platform takes."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(6_000)
        sound.writeframes(b"\x80" * 6_000 * 3_600)
    return file.getvalue()


def test_everything_answers_as_well_afterwards(http: httpx.Client) -> None:
    for name in ("an unknown voice", "3 000 inputs", "a renamed PNG"):
        path, request, _ = CASES[name]
        http.post(path, **request())
    assert http.post("/chat/completions", **_chat(max_tokens=4)).status_code == 200
    assert http.post("/embeddings", json={"model": "text-embedding-3-small", "input": "x"}).status_code == 200
    spoken = http.post(
        "/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": "Hi", "response_format": "wav"}
    )
    assert spoken.status_code == 200
    assert http.post("/audio/transcriptions", **_heard("a.wav", spoken.content)).status_code == 200
