"""Edits of images as JSON: what becomes of them, what is refused, and what of them lies on the disk for how long."""

import base64
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.batches import a_batch, ended, lines_of
from tests.builders import Json
from tests.pictures import drawing, drawing_bytes, half, noise, png
from tests.scripted import Request, ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

EDITS = "/images/edits"
JPEG = b"\xff\xd8\xff\xe0 a photograph"
WEBP = b"RIFF\0\0\0\0WEBPVP8 "
NO_PNG = "Uploaded image must be a PNG and less than 4 MB."


@pytest.fixture
def artist(upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The upstream, editing."""
    upstream.serve(EDITS, drawing_bytes)
    return upstream


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def at(data: bytes, kind: str = "image/png") -> Json:
    return {"image_url": url(data, kind)}


def uploaded(http: httpx.Client, data: bytes, purpose: str = "vision", name: str = "otter.png") -> Json:
    answer = http.post("/files", files={"file": (name, data)}, data={"purpose": purpose})
    assert answer.status_code == 200, answer.text
    return {"file_id": answer.json()["id"]}


def edited(http: httpx.Client, *images: Json, **body: Any) -> Json:
    answer = http.post(EDITS, json={"prompt": "A hat", "images": images, **body})
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()
    return made


def refused(answer: httpx.Response, status: int = 400) -> tuple[str, str | None, str | None]:
    """The message, ``param`` and ``code`` of an error."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    return error["message"], error["param"], error["code"]


def pictures(request: Request) -> list[tuple[str, str | None, str | None, bytes]]:
    return [(part.name, part.filename, part.content_type, part.content) for part in request.form if part.filename]


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_a_data_url_and_a_file_are_asked_for_as_in_a_form(http: httpx.Client, artist: ScriptedUpstream) -> None:
    files = [uploaded(http, png(30, 20)), uploaded(http, JPEG, "user_data"), uploaded(http, half(30), "assistants")]
    made = edited(
        http, at(png(30, colour=2)), *files[:2], at(WEBP, "image/webp"),
        mask=files[2], model="gpt-image-1", n=2, size="1536x1024", quality="low", background="transparent",
        input_fidelity="high", output_format="webp", output_compression=50, moderation="low", user="u",
    )  # fmt: skip
    assert [list(image) for image in made["data"]] == [["b64_json"]] * 2
    (asked,) = artist.others
    assert pictures(asked) == [
        ("image[]", "image-0.png", "image/png", png(30, colour=2)),
        ("image[]", "image-1.png", "image/png", png(30, 20)),
        ("image[]", "image-2.jpeg", "image/jpeg", JPEG),
        ("image[]", "image-3.webp", "image/webp", WEBP),
        ("mask", "mask-4.png", "image/png", half(30)),
    ]
    assert {part.name: part.content.decode() for part in asked.form if part.filename is None} == {
        "model": "gpt-image-1", "prompt": "A hat", "n": "2", "size": "1536x1024", "quality": "low",
        "background": "transparent", "input_fidelity": "high", "output_format": "webp", "output_compression": "50",
        "moderation": "low", "user": "u",
    }  # fmt: skip


def test_one_picture_is_one_field_and_the_model_is_the_references(http: httpx.Client, artist: ScriptedUpstream) -> None:
    edited(http, {**at(png()), "file_id": None}, mask=None, n=None, user=None)
    (asked,) = artist.others
    assert [part[:2] for part in pictures(asked)] == [("image", "image-0.png")]
    assert asked.field("model") == "gpt-image-1.5"
    assert {part.name for part in asked.form} == {"image", "model", "prompt"}


def test_names_that_are_not_the_platforms_go_through(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    upstream.serve(EDITS, drawing_bytes)
    (image,) = edited(http, at(png()), model="flux-kontext", size="768x512")["data"]
    assert httpx.get(image["url"]).content == png(1)
    upstream.serve(EDITS, drawing)
    (image,) = edited(http, at(png()), model="flux-kontext", response_format="b64_json")["data"]
    assert base64.b64decode(image["b64_json"]) == png(1)


def test_a_deployments_path_names_the_model(server: Everloom, http: httpx.Client, artist: ScriptedUpstream) -> None:
    path = server.url.removesuffix("/v1") + "/openai/deployments/gpt-image-1/images/edits?api-version=1"
    with httpx.Client(headers=http.headers) as plain:
        answer = plain.post(path, json={"prompt": "A hat", "images": [at(png())]})
    assert answer.status_code == 200, answer.text
    assert artist.others[0].field("model") == "gpt-image-1"


def _wrapped(text: str) -> str:
    return "\r\n".join(text[start : start + 76] for start in range(0, len(text), 76)) + "\n"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 700_000, 1_400_001])
def test_data_urls_as_programs_write_them(size: int, http: httpx.Client, artist: ScriptedUpstream) -> None:
    picture = JPEG + os.urandom(size)
    text = base64.b64encode(picture).decode()
    urls = [
        f"data:image/jpeg;base64,{text}",
        f"DATA:IMAGE/JPEG;BASE64,{text}",
        f"data:image/jpeg;charset=utf-8;name=a.jpg;base64,{text}",
        f"data:;base64,{text}",
        f"data:application/octet-stream;base64,{_wrapped(text)}",
    ]
    edited(http, *({"image_url": written} for written in urls), model="gpt-image-1")
    assert {part[2:] for part in pictures(artist.others[0])} == {("image/jpeg", picture)}
    body = b'{"model":"gpt-image-1","prompt":"x","images":[{"image_url":"%s"}]}' % urls[0].replace("/", "\\/").encode()
    answer = http.post(EDITS, content=body, headers={"content-type": "Application/JSON; charset=utf-8"})
    assert answer.status_code == 200, answer.text
    assert pictures(artist.others[1])[0][3] == picture


def test_an_edit_is_streamed_where_the_upstream_streams_it(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    events = b'event: image_edit.completed\ndata: {"type":"image_edit.completed","b64_json":"aGk="}\n\n'
    upstream.serve(EDITS, lambda request: web.Response(body=events, headers={"content-type": "text/event-stream"}))
    body = {"model": "gpt-image-1", "prompt": "x", "images": [at(png())], "stream": True, "partial_images": 1}
    # The reference of 2024 has no such stream, so nothing is there to check it by.
    with httpx.Client(base_url=http.base_url, headers=http.headers) as plain:
        answer = plain.post(EDITS, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == events
    assert (upstream.others[0].field("stream"), upstream.others[0].field("partial_images")) == ("true", "1")


# --- what is refused before any model is asked ------------------------------------------------------------------------

GOOD = at(png())
FIRST = "images[0].image_url"
MISSING, UNKNOWN, INVALID = "missing_required_parameter", "unknown_parameter", "invalid_value"
WRONG: dict[str, tuple[Json, str, str, str]] = {
    "no images": ({"images": None}, "expected an array", "images", "invalid_type"),
    "an empty list": ({"images": []}, "empty array", "images", "empty_array"),
    "17 images": ({"images": [GOOD] * 17}, "maximum length 16", "images", "array_above_max_length"),
    "a bare URL": ({"images": [url(png())]}, "expected an object", "images[0]", "invalid_type"),
    "neither": ({"images": [GOOD, {}]}, "exactly one", "images[1]", MISSING),
    "nulls": ({"images": [{"image_url": None, "file_id": None}]}, "exactly one", "images[0]", MISSING),
    "both": ({"images": [{**GOOD, "file_id": "file-1"}]}, "exclude each other", "images[0]", INVALID),
    "more": ({"images": [{**GOOD, "detail": "low"}]}, "Unknown", "images[0].detail", UNKNOWN),
    "a number": ({"images": [{"file_id": 7}]}, "expected a string", "images[0].file_id", "invalid_type"),
    "http": ({"images": [{"image_url": "http://a.example/1.png"}]}, "fetches nothing", FIRST, "invalid_image_url"),
    "https": ({"images": [{"image_url": "HTTPS://a.example/"}]}, "fetches nothing", FIRST, "invalid_image_url"),
    "a path": ({"images": [{"image_url": "file:///etc/passwd"}]}, "data URL", FIRST, INVALID),
    "no URL": ({"images": [{"image_url": ""}]}, "data URL", FIRST, INVALID),
    "plain data": ({"images": [{"image_url": "data:image/png,%89PNG"}]}, "data URL", FIRST, INVALID),
    "a long head": ({"images": [{"image_url": f"data:image/png;a={'b' * 300};base64,AAAA"}]}, "URL", FIRST, INVALID),
    "no base64": ({"images": [{"image_url": "data:image/png;base64,A*=="}]}, "base64", FIRST, "invalid_base64"),
    "cut off": ({"images": [{"image_url": url(png())[:-1]}]}, "base64", FIRST, "invalid_base64"),
    "letters": ({"images": [{"image_url": "data:image/png;base64,äöüß"}]}, "base64", FIRST, "invalid_base64"),
    "two ends": ({"images": [{"image_url": "data:image/png;base64,QQ==QQ=="}]}, "base64", FIRST, "invalid_base64"),
    "nothing": ({"images": [{"image_url": "data:image/png;base64,"}]}, "is empty", FIRST, "empty_file"),
    "a GIF": ({"images": [GOOD, at(b"GIF89a")]}, "formats", "images[1].image_url", "unsupported_file_mimetype"),
    "a lie": ({"images": [at(png()[:-20])]}, NO_PNG, FIRST, ""),
    "too long": ({"images": [{"image_url": "data:" + "A" * 20_971_520}]}, "20971520", FIRST, "string_above_max_length"),
    "a long id": ({"images": [{"file_id": "f" * 300}]}, "256", "images[0].file_id", "string_above_max_length"),
    "no file": ({"images": [GOOD], "mask": {}}, "exactly one", "mask", MISSING),
    "a mask of http": ({"mask": {"image_url": "http://a/"}}, "nothing", "mask.image_url", "invalid_image_url"),
    "a small mask": ({"mask": at(half(32))}, "does not match", "mask.image_url", "invalid_mask_image_format"),
    "an opaque mask": ({"mask": at(png(64, colour=2))}, "alpha", "mask.image_url", "invalid_mask_image_format"),
    "a photographed mask": ({"mask": at(JPEG)}, NO_PNG, "mask.image_url", ""),
    "no prompt": ({"prompt": None}, "expected a string", "prompt", "invalid_type"),
    "eleven": ({"n": 11}, "<= 10", "n", "integer_above_max_value"),
    "a form's field": ({"image": url(png())}, "Unknown parameter: 'image'.", "image", UNKNOWN),
    "DALL-E 2": ({"model": "dall-e-2"}, "JSON edits support GPT image models only", "model", INVALID),
    "DALL-E 3": ({"model": "dall-e-3"}, "JSON edits support GPT image models only", "model", INVALID),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str, http: httpx.Client, artist: ScriptedUpstream) -> None:
    body, message, param, code = WRONG[name]
    said = refused(http.post(EDITS, json={"prompt": "A hat", "images": [GOOD], "model": "gpt-image-1", **body}))
    assert message in said[0]
    assert said[1:] == (param, code or None)
    assert artist.others == []


def test_bodies_that_are_no_request(server: Everloom, http: httpx.Client, artist: ScriptedUpstream) -> None:
    assert refused(http.post(EDITS, json={"prompt": "A hat"}))[1:] == ("images", MISSING)
    assert refused(http.post(EDITS, json={"images": [GOOD]}))[1:] == ("prompt", MISSING)
    headers = {"content-type": "application/json"}
    assert "could not parse" in refused(http.post(EDITS, content=b'{"images":', headers=headers))[0]
    plain = http.post(EDITS, content=b"{}", headers={"content-type": "text/plain"})
    assert refused(plain)[0].startswith("Invalid Content-Type")
    assert refused(http.post("/images/variations", json={"images": [GOOD]}))[0].startswith("Invalid Content-Type")
    huge = b'{"prompt":"%s"' % bytes(65 * 1024 * 1024)
    # It may be closed under our hands, which is the right answer, too.
    with client_of(server) as other, suppress(httpx.WriteError, httpx.RemoteProtocolError):
        assert refused(other.post(EDITS, content=huge, headers=headers), 413)[2] == "request_too_large"
    assert artist.others == []


def test_files_that_are_wrong(each_server: Everloom, artist: ScriptedUpstream) -> None:
    with client_of(each_server) as http:
        body: Json = {"prompt": "A hat", "model": "gpt-image-1"}
        nobodys = {"file_id": "file-nobody"}
        said = refused(http.post(EDITS, json={**body, "images": [GOOD, nobodys]}), 404)
        assert said == ("No such File object: file-nobody", "images[1].file_id", None)
        said = refused(http.post(EDITS, json={**body, "images": [GOOD], "mask": nobodys}), 404)
        assert said[1] == "mask.file_id"
        text = uploaded(http, b"These are words.", "assistants", "a.txt")
        said = refused(http.post(EDITS, json={**body, "images": [text]}))
        assert said[1:] == ("images[0].file_id", "unsupported_file_mimetype")
        empty = uploaded(http, b"")
        assert refused(http.post(EDITS, json={**body, "images": [empty]}))[1:] == ("images[0].file_id", "empty_file")
        heavy = uploaded(http, JPEG + bytes(12 * 1024 * 1024))
        said = refused(http.post(EDITS, json={**body, "images": [heavy] * 5}), 413)
        assert said[1:] == ("images[4].file_id", "file_too_large")
        said = refused(http.post(EDITS, json={**body, "images": [GOOD], "mask": heavy}), 413)
        assert said[1:] == ("mask.file_id", "file_too_large")
        key = each_server.command("keys", "create", "--project", "other-edits").strip()
        mine = uploaded(http, png())
        with client_of(each_server, key) as other:
            said = refused(other.post(EDITS, json={**body, "images": [mine]}), 404)
            assert said == (f"No such File object: {mine['file_id']}", "images[0].file_id", None)
            edited(other, uploaded(other, png()), model="gpt-image-1")
        assert len(artist.others) == 1


def test_files_that_are_damaged_or_gone(server: Everloom, http: httpx.Client, artist: ScriptedUpstream) -> None:
    file = uploaded(http, png())
    body = {"prompt": "A hat", "model": "gpt-image-1", "images": [file]}
    path = server.data / "blobs" / file["file_id"]
    path.write_bytes(png(64, colour=2))
    said = refused(http.post(EDITS, json=body))
    assert "damaged" in said[0]
    assert said[1:] == ("images[0].file_id", "invalid_file")
    path.unlink()
    said = refused(http.post(EDITS, json=body), 404)
    assert said == (f"No such File object: {file['file_id']}", "images[0].file_id", None)
    assert artist.others == []


# --- lines of batches -------------------------------------------------------------------------------------------------


def a_line(number: int, **body: Any) -> Json:
    asked = {"prompt": "A hat", "model": "gpt-image-1", "images": [GOOD], **body}
    return {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/images/edits", "body": asked}


def test_lines_of_a_batch(each_server: Everloom, artist: ScriptedUpstream) -> None:
    with client_of(each_server) as http:
        large = noise(600)
        lines = [
            a_line(1),
            a_line(2, images=[uploaded(http, JPEG), at(large)], n=2),
            a_line(3, mask=uploaded(http, half())),
            a_line(4, images=[{"image_url": "https://a.example/1.png"}]),
            a_line(5, images=[{"file_id": "file-nobody"}]),
            a_line(6, mask=at(half(32))),
            a_line(7, stream=True),
            a_line(8, images=[{}]),
        ]
        batch = ended(http, a_batch(http, lines, "/v1/images/edits"))
        assert batch["status"] == "completed", batch
        assert batch["request_counts"] == {"total": 8, "completed": 3, "failed": 5}
        answers = lines_of(http, batch["output_file_id"])
        drawn = {name: len(line["response"]["body"]["data"]) for name, line in answers.items()}
        assert drawn == {"line-1": 1, "line-2": 2, "line-3": 1}
        errors = lines_of(http, batch["error_file_id"])
    told = {
        name: (line["response"]["status_code"], line["response"]["body"]["error"]["param"])
        for name, line in errors.items()
    }
    assert told == {
        "line-4": (400, FIRST),
        "line-5": (404, "images[0].file_id"),
        "line-6": (400, "mask.image_url"),
        "line-7": (400, "stream"),
        "line-8": (400, "images[0]"),
    }
    sent = sorted(tuple(part[3] for part in pictures(request)) for request in artist.others)
    assert sent == sorted([(png(),), (JPEG, large), (png(), half())])


def test_a_batch_whose_lines_name_no_model(http: httpx.Client, artist: ScriptedUpstream) -> None:
    line = a_line(1)
    del line["body"]["model"]
    batch = ended(http, a_batch(http, [line], "/v1/images/edits"))
    assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert artist.others[0].field("model") == "gpt-image-1.5"


# --- the disk ---------------------------------------------------------------------------------------------------------


class Stuck:
    """An upstream's endpoint that is in no hurry."""

    def __init__(self) -> None:
        self.began, self.released = threading.Event(), threading.Event()

    def __call__(self, request: Request) -> web.StreamResponse:
        self.began.set()
        assert self.released.wait(30)
        return drawing_bytes(request)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a server that is started has its temporary folders."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def slow() -> Iterator[tuple[ScriptedUpstream, Stuck]]:
    with ScriptedUpstream() as upstream:
        upstream.serve(EDITS, stuck := Stuck())
        yield upstream, stuck
        stuck.released.set()


def laid(folder: Path) -> list[Path]:
    return sorted(folder.glob("everloom-form-*"))


def none_is_left(folder: Path) -> bool:
    end = time.monotonic() + 10
    while laid(folder) and time.monotonic() < end:
        time.sleep(0.01)
    return not laid(folder)


def test_pictures_lie_on_the_disk_until_they_are_answered(
    tmp_path: Path, temporary: Path, slow: tuple[ScriptedUpstream, Stuck]
) -> None:
    upstream, stuck = slow
    body = {"prompt": "A hat", "model": "gpt-image-1", "images": [GOOD, at(JPEG)]}
    with Everloom(tmp_path, upstream=upstream.url) as server, client_of(server) as http:
        with pytest.raises(httpx.ReadTimeout):
            http.post(EDITS, json=body, timeout=1.0)
        assert none_is_left(temporary), "who left has left something"
        stuck.released.set()
        assert http.post(EDITS, json=body).status_code == 200
        assert refused(http.post(EDITS, json={**body, "mask": at(JPEG)}))[1] == "mask.image_url"
        assert refused(http.post(EDITS, json={**body, "images": [GOOD, {"file_id": "file-x"}]}), 404)
        assert ended(http, a_batch(http, [a_line(1), a_line(2, mask={})], "/v1/images/edits"))["status"] == "completed"
        assert none_is_left(temporary)


@pytest.mark.parametrize("way", ["live", "batch"])
def test_what_a_killed_server_left_is_swept(
    way: str, tmp_path: Path, temporary: Path, slow: tuple[ScriptedUpstream, Stuck]
) -> None:
    upstream, stuck = slow
    server = Everloom(tmp_path, upstream=upstream.url)
    with server, client_of(server) as http, ThreadPoolExecutor() as threads:
        if way == "batch":
            batch = a_batch(http, [a_line(1)], "/v1/images/edits")
        else:
            asking = threads.submit(http.post, EDITS, json=a_line(1)["body"])
        assert stuck.began.wait(10)
        server.kill()
        if way == "live":
            assert isinstance(asking.exception(10), httpx.TransportError)
        (left,) = laid(temporary)
        assert (left / "0").read_bytes() == png()
        assert left.stat().st_mode & 0o077 == 0
        os.utime(left, (time.time() - 7200,) * 2)
        stuck.released.set()
        server.start()
        if way == "batch":
            with client_of(server) as again:
                found = ended(again, batch)
            assert found["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
        assert not left.exists()
        assert none_is_left(temporary)
