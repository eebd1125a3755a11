"""What a broken upstream answers with status 200, or refuses with: each caller gets the platform's error, told once."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.bad_upstream import BadUpstream, bad_upstream
from tests.offers import png, wav
from tests.servers import API_KEY, Everloom

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture(scope="module")
def _bad() -> Iterator[BadUpstream]:
    with bad_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(_bad: BadUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    folder = tmp_path_factory.mktemp("bad")
    with Everloom(folder, upstream=_bad.url, embedding_model="m", moderation_model="m", fetch_weights="no") as server:
        yield server


@pytest.fixture
def upstream(_bad: BadUpstream, server: Everloom) -> Iterator[BadUpstream]:
    """The upstream; its server has shown no traceback of what it said."""
    yield _bad
    assert not [line for line in server.output if "Traceback" in line]


@pytest.fixture
def http(server: Everloom) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {API_KEY}"}, timeout=30) as client:
        yield client


def _chat(**fields: Any) -> dict[str, Any]:
    return {"json": {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}}


def _audio() -> dict[str, Any]:
    return {"data": {"model": "m"}, "files": {"file": ("a.wav", wav(0.1))}}


SPOKEN: dict[str, Any] = {"json": {"model": "m", "input": "Hi", "voice": "v"}}
REQUESTS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "chat": ("/chat/completions", _chat),
    "chat that is kept": ("/chat/completions", lambda: _chat(store=True)),
    "completions": ("/completions", lambda: {"json": {"model": "m", "prompt": "Hi"}}),
    "embeddings": ("/embeddings", lambda: {"json": {"model": "m", "input": "Hi"}}),
    "moderations": ("/moderations", lambda: {"json": {"model": "m", "input": "Hi"}}),
    "speech": ("/audio/speech", lambda: SPOKEN),
    "transcriptions": ("/audio/transcriptions", _audio),
    "translations": ("/audio/translations", _audio),
    "images": ("/images/generations", lambda: {"json": {"model": "m", "prompt": "x"}}),
    "image edits": (
        "/images/edits",
        lambda: {"data": {"model": "m", "prompt": "x"}, "files": {"image": ("a.png", png(8))}},
    ),
}

NONSENSE = {
    "a page": (b"<html><script>alert(1)</script></html>", b"text/html"),
    "nothing": (b"", b"application/json"),
    "another object": (b'{"hello": 1}', b"application/json"),
    "an error": (b'{"error": {"message": "boom"}}', b"application/json"),
    "no UTF-8": (b'{"id":"\xff","choices":["\xff"],"data":[{"b64_json":"\xff"}],"text":"\xff"}', b"application/json"),
    "brackets without end": (b'{"id":"a","text":"a","choices":[],"data":[],"x":' + DEEP + b"}", b"application/json"),
    "events": (b"nonsense", b"text/event-stream"),
}


MAY_STREAM = {"speech", "transcriptions", "translations"}
"""Their servers may stream unasked; what a stream lacks is told in it."""

PAIRS = [
    (request_name, answer)
    for request_name in REQUESTS
    for answer in NONSENSE
    if not (answer == "events" and request_name in MAY_STREAM)
]


@pytest.mark.parametrize(("request_name", "answer"), PAIRS)
def test_nonsense_is_no_answer(request_name: str, answer: str, upstream: BadUpstream, http: httpx.Client) -> None:
    body, kind = NONSENSE[answer]
    upstream.says(body, kind=kind)
    path, request = REQUESTS[request_name]
    refusal = http.post(path, **request())
    assert refusal.status_code == 502
    assert set(refusal.json()["error"]) == {"message", "type", "param", "code"}
    assert refusal.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize("body", [b'{"error": {"message": "\xff"}}', DEEP, b"\xff\xfe", b'{"error": [1]}'])
@pytest.mark.parametrize("request_name", REQUESTS)
def test_an_unreadable_refusal_is_a_refusal(
    request_name: str, body: bytes, upstream: BadUpstream, http: httpx.Client
) -> None:
    upstream.says(body, status=b"422 Unprocessable")
    path, request = REQUESTS[request_name]
    refusal = http.post(path, **request())
    assert refusal.status_code == 422
    assert set(refusal.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("asked", [b"30\x00", b"\x1b[31m", b"\xb2", b"9" * 5000])
def test_a_pause_that_no_header_can_ask_for_is_asked_of_nobody(
    asked: bytes, upstream: BadUpstream, http: httpx.Client
) -> None:
    upstream.says(
        b'{"error": {"message": "Slowly."}}', status=b"429 Too Many\r\nretry-after-ms: 0\r\nretry-after: " + asked
    )
    refusal = http.post("/chat/completions", **_chat())
    assert (refusal.status_code, refusal.json()["error"]["message"]) == (429, "Slowly.")
    assert "retry-after" not in refusal.headers


SAID = b'data: {"id": "c", "choices": [{"index": 0, "delta": {"content": "data: [DONE]"}}]}\n\n'


@pytest.mark.parametrize("pieces", [(b"data: [DONE]\n\n",), [bytes([byte]) for byte in b"data: [DONE]\n\n"], ()])
def test_a_stream_has_ended_only_where_it_says_so_itself(
    pieces: Sequence[bytes], upstream: BadUpstream, http: httpx.Client
) -> None:
    upstream.says(SAID, *pieces, kind=b"text/event-stream", pause=0.02)
    answer = http.post("/chat/completions", **_chat(stream=True)).content
    assert (b"broke off its answer" in answer) == (not pieces)


def test_a_refusal_in_two_pieces_is_read_whole(upstream: BadUpstream, http: httpx.Client) -> None:
    upstream.says(b'{"error": {"message": "Too', b' hot.", "param": "temperature"}}', status=b"400 Bad", pause=0.1)
    error = http.post("/chat/completions", **_chat()).json()["error"]
    assert (error["message"], error["param"]) == ("Too hot.", "temperature")


def test_costs_that_cannot_be_are_not_counted(upstream: BadUpstream, http: httpx.Client) -> None:
    for number in (-5, 10**400):
        cost = b'"usage": {"prompt_tokens": %d, "completion_tokens": 1, "total_tokens": 1}' % number
        upstream.says(b'{"id": "a", "choices": [], ' + cost + b"}")
        assert http.post("/chat/completions", **_chat()).status_code == 200
    upstream.says(b'{"created": 1, "data": [], "usage": {"input_tokens": -1, "output_tokens": -1}}')
    assert http.post("/images/generations", json={"prompt": "x", "model": "m"}).status_code == 200


@pytest.mark.parametrize("text", ["é", "a", "====="])
def test_an_image_of_no_base64(text: str, upstream: BadUpstream, http: httpx.Client) -> None:
    upstream.says(b'{"created": 1, "data": [{"b64_json": "%s"}]}' % text.encode())
    answer = http.post("/images/generations", json={"model": "m", "prompt": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_broken")


def test_a_media_type_that_is_none(upstream: BadUpstream, http: httpx.Client) -> None:
    upstream.says(b"sound", kind=b"audio/\xff\xfe")
    answer = http.post("/audio/speech", **SPOKEN)
    assert (answer.content, answer.headers["content-type"]) == (b"sound", "application/octet-stream")


def test_a_text_is_no_page(upstream: BadUpstream, http: httpx.Client) -> None:
    """A server that says HTML and means text: what was said into the microphone is nothing to run."""
    upstream.says(b"<script>alert(1)</script>", kind=b"text/html")
    answer = http.post("/audio/transcriptions", **_audio() | {"data": {"model": "m", "response_format": "text"}})
    assert (answer.text, answer.headers["content-type"]) == ("<script>alert(1)</script>", "text/plain; charset=utf-8")


def test_interim_answers_without_end_are_none_to_a_form(upstream: BadUpstream, http: httpx.Client) -> None:
    upstream.says(b'{"text": "late"}')
    upstream.head = b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000 + upstream.head
    answer = http.post("/audio/transcriptions", **_audio())
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")


def test_sound_that_breaks_off_is_not_taken_for_whole(upstream: BadUpstream, http: httpx.Client) -> None:
    upstream.says(b"half", kind=b"audio/mpeg", more=4)
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/audio/speech", **SPOKEN)


def test_a_stream_of_images_that_breaks_off_ends_in_an_event_of_its_own(
    upstream: BadUpstream, http: httpx.Client
) -> None:
    upstream.says(b'data: {"type": "image_gen', kind=b"text/event-stream", more=9)
    answer = http.post("/images/generations", json={"model": "gpt-image-1", "prompt": "x", "stream": True})
    assert answer.text.startswith('\ndata: {"error"')
