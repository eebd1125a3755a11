"""Images: what is asked, what is refused before any model is asked, and what is kept for an hour."""

import asyncio
import base64
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from everloom.context import Context
from everloom.objects.images import GeneratedImage
from everloom.objects.uploads import BlobDraft
from everloom.store.base import SYSTEM, Change
from everloom.store.sqlite import SqliteDatabase
from everloom.work.inference import images
from tests.blobs import names, ports_of
from tests.builders import Json
from tests.leaving import leaves, until
from tests.pictures import SIGNATURE, chunk, drawing, drawing_bytes, half, header, noise, png, rows
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

GENERATIONS, EDITS, VARIATIONS = "/images/generations", "/images/edits", "/images/variations"


@pytest.fixture
def artist(upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The upstream, drawing."""
    for path in (GENERATIONS, EDITS, VARIATIONS):
        upstream.serve(path, drawing)
    return upstream


@pytest.fixture
def bytes_only(upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The upstream, drawing on a server that has no URLs."""
    for path in (GENERATIONS, EDITS, VARIATIONS):
        upstream.serve(path, drawing_bytes)
    return upstream


def created(http: httpx.Client, **body: Any) -> Json:
    answer = http.post(GENERATIONS, json={"prompt": "An otter", **body})
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()
    return made


def refused(answer: httpx.Response, status: int = 400) -> tuple[str, str | None, str | None]:
    """The message, ``param`` and ``code`` of an error."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    return error["message"], error["param"], error["code"]


# --- what passes through -------------------------------------------------------------------------------------------


def test_a_request_passes_through_and_the_upstreams_urls_come_back(
    http: httpx.Client, artist: ScriptedUpstream
) -> None:
    answer = created(http, model="dall-e-3", size="1792x1024", quality="hd", style="natural", user="u", n=1)
    assert answer["data"] == [
        {"url": "https://pictures.example/1.png", "revised_prompt": "A detailed picture of An otter"}
    ]
    (asked,) = artist.others
    assert asked.body == {
        "prompt": "An otter", "model": "dall-e-3", "size": "1792x1024", "quality": "hd", "style": "natural",
        "user": "u", "n": 1,
    }  # fmt: skip


def test_the_model_that_is_not_named_is_dall_e_2(http: httpx.Client, artist: ScriptedUpstream) -> None:
    assert len(created(http, n=10)["data"]) == 10
    assert artist.others[0].body == {"prompt": "An otter", "n": 10, "model": "dall-e-2"}
    created(http, background="opaque")
    assert artist.others[1].body["model"] == "gpt-image-1"


def test_bytes_are_asked_for_and_come_as_they_are(http: httpx.Client, artist: ScriptedUpstream) -> None:
    (image,) = created(http, response_format="b64_json")["data"]
    assert base64.b64decode(image["b64_json"]) == png(1)
    assert artist.others[0].body["response_format"] == "b64_json"


def test_an_edit_and_a_variation_pass_through_from_the_disk(http: httpx.Client, artist: ScriptedUpstream) -> None:
    picture, mask = noise(512), half(512)
    sent = {"image": ("otter", picture, "application/octet-stream"), "mask": ("mask.png", mask, "image/png")}
    answer = http.post(EDITS, data={"prompt": "A hat", "n": "2", "size": "256x256"}, files=sent)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == 2
    (asked,) = artist.others
    assert {part.name: part.content for part in asked.form} == {
        "model": b"dall-e-2", "prompt": b"A hat", "n": b"2", "size": b"256x256", "image": picture, "mask": mask,
    }  # fmt: skip
    # The platform goes by the type that is said, which many clients do not know.
    assert {part.content_type for part in asked.form if part.filename} == {"image/png"}
    answer = http.post(VARIATIONS, files={"image": png(64, colour=2)}, data={"response_format": "b64_json"})
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == png(1)
    assert artist.others[1].field("model") == "dall-e-2"


def test_later_models_take_several_pictures_of_other_kinds(http: httpx.Client, bytes_only: ScriptedUpstream) -> None:
    sent = [
        ("image[]", ("a.jpg", b"\xff\xd8\xff\xe0 a photograph", "image/png")),
        ("image[]", ("b.webp", b"RIFF\0\0\0\0WEBPVP8 ", None)),
        ("image[]", ("c.png", png(30, 20, colour=2), None)),
    ]
    fields = {"model": "gpt-image-1", "prompt": "Together", "background": "transparent", "input_fidelity": "high"}
    answer = http.post(EDITS, data={**fields, "size": "1536x1024", "quality": "low"}, files=sent)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()["data"][0]) == ["b64_json"]  # As they always answer, when nobody asks otherwise.
    (asked,) = bytes_only.others
    pictures = [part for part in asked.form if part.filename]
    assert [part.content_type for part in pictures] == ["image/jpeg", "image/webp", "image/png"]
    assert [part.name for part in pictures] == ["image[]"] * 3
    assert asked.field("background") == "transparent"


def test_a_model_that_always_answers_in_bytes_is_not_asked_how(
    http: httpx.Client, bytes_only: ScriptedUpstream
) -> None:
    (image,) = created(http, model="gpt-image-1", response_format="url")["data"]
    assert http.get(image["url"]).content == png(1)
    (image,) = created(http, model="gpt-image-1", response_format="b64_json")["data"]
    assert base64.b64decode(image["b64_json"]) == png(1)
    assert all("response_format" not in asked.body for asked in bytes_only.others)


def test_images_stream_where_the_upstream_streams_them(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    partial = b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image"}\n\n'
    whole = b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"aGk="}\n\n'
    upstream.serve(
        GENERATIONS, lambda request: web.Response(body=partial + whole, headers={"content-type": "text/event-stream"})
    )
    before = counted(http, "gpt-image-1")
    body = {"model": "gpt-image-1", "prompt": "An otter", "stream": True, "partial_images": 1}
    # The reference of 2024 has no such stream, so nothing is there to check it by.
    with httpx.Client(base_url=http.base_url, headers=http.headers) as plain:
        answer = plain.post(GENERATIONS, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == partial + whole
    assert upstream.others[0].body == body
    assert counted(http, "gpt-image-1") == before + 1


def test_images_are_counted(http: httpx.Client, artist: ScriptedUpstream) -> None:
    before = counted(http, "dall-e-2")
    created(http, n=3)
    assert counted(http, "dall-e-2") == before + 3


def counted(http: httpx.Client, model: str) -> int:
    metrics = httpx.get(str(http.base_url).partition("/v1")[0] + "/metrics").text
    found = re.search(rf'everloom_model_images_total{{model="{model}"}} ([0-9.]+)', metrics)
    return int(float(found[1])) if found else 0


def test_a_client_that_leaves_stops_the_upstream(tmp_path: Path) -> None:
    asked: list[str] = []
    gone: list[str] = []

    async def slowly(request: web.Request) -> web.StreamResponse:
        await request.read()
        asked.append(request.path)
        try:
            await asyncio.sleep(90)
        except asyncio.CancelledError:
            gone.append(request.path)
            raise
        raise AssertionError("nobody left")

    with Slow(slowly) as slow, Everloom(tmp_path, upstream=slow.url) as leaving:
        with client_of(leaving) as client:
            leaves(client, GENERATIONS, lambda: len(asked) == 1, json={"prompt": "An otter"})
            leaves(client, VARIATIONS, lambda: len(asked) == 2, files={"image": png(64)})
        until(lambda: len(gone) == 2)
    assert sorted(gone) == ["/v1/images/generations", "/v1/images/variations"]


def test_what_the_upstream_refuses_is_refused(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    text, code = "Your request was rejected.", "content_policy_violation"
    error = {"message": text, "type": "invalid_request_error", "param": None, "code": code}
    upstream.serve(GENERATIONS, lambda request: web.json_response({"error": error}, status=400))
    answer = http.post(GENERATIONS, json={"prompt": "An otter"})
    assert refused(answer) == (text, None, code)
    upstream.serve(GENERATIONS, lambda request: web.json_response({"created": 1, "data": [{"b64_json": "%%%"}]}))
    assert "no JSON" in refused(http.post(GENERATIONS, json={"prompt": "An otter"}), 502)[0]
    upstream.serve(GENERATIONS, lambda request: web.Response(text="<html>"))
    assert "no JSON" in refused(http.post(GENERATIONS, json={"prompt": "An otter"}), 502)[0]


# --- what is refused before any model is asked ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({}, "Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter"),
        ({"prompt": ""}, "empty string", "prompt", "empty_string"),
        ({"prompt": "x" * 1001}, "maximum length 1000, but got", "prompt", "string_above_max_length"),
        ({"prompt": "x" * 4001, "model": "dall-e-3"}, "length 4000", "prompt", "string_above_max_length"),
        ({"prompt": "x" * 32001, "model": "other"}, "length 32000", "prompt", "string_above_max_length"),
        ({"prompt": "x", "n": 0}, "integer below minimum", "n", "integer_below_min_value"),
        ({"prompt": "x", "n": 200}, "Expected a value <= 10", "n", "integer_above_max_value"),
        ({"prompt": "x", "n": 2, "model": "dall-e-3"}, "You must provide n=1 for this model.", "n", "invalid_n"),
        ({"prompt": "x", "size": "300x300"}, "Supported values are: '1024x1024'", "size", "invalid_value"),
        ({"prompt": "x", "size": "1792x1024"}, "The size is not supported by this model.", "size", "invalid_size"),
        ({"prompt": "x", "size": "256x256", "model": "dall-e-3"}, "The size is not", "size", "invalid_size"),
        ({"prompt": "x", "size": "huge", "model": "other"}, "expected WIDTHxHEIGHT", "size", "invalid_value"),
        ({"prompt": "x", "size": "0x99999999", "model": "other"}, "expected WIDTH", "size", "invalid_value"),
        ({"prompt": "x", "quality": "best"}, "Invalid value: 'best'.", "quality", "invalid_value"),
        ({"prompt": "x", "quality": "hd"}, "Supported values are: 'standard'.", "quality", "invalid_value"),
        ({"prompt": "x", "quality": "high", "model": "dall-e-3"}, "are: 'hd' and", "quality", "invalid_value"),
        ({"prompt": "x", "style": "grim", "model": "dall-e-3"}, "'grim'", "style", "invalid_value"),
        ({"prompt": "x", "style": "vivid"}, "not supported with this model", "style", "unsupported_parameter"),
        ({"prompt": "x", "response_format": "jpeg"}, "'jpeg'", "response_format", "invalid_value"),
        ({"prompt": "x", "model": "dall-e-2", "stream": True}, "Unknown", "stream", "unknown_parameter"),
        ({"prompt": "x", "model": "dall-e-3", "background": "auto"}, "Unknown", "background", "unknown_parameter"),
        ({"prompt": "x", "output_compression": 101}, "<= 100", "output_compression", "integer_above_max_value"),
        ({"prompt": "x", "steps": 3}, "Unknown parameter: 'steps'.", "steps", "unknown_parameter"),
        ({"prompt": ["x"]}, "expected a string, but got an array", "prompt", "invalid_type"),
    ],
)
def test_parameters_that_are_wrong(
    body: Json, message: str, param: str, code: str, http: httpx.Client, artist: ScriptedUpstream
) -> None:
    said = refused(http.post(GENERATIONS, json=body))
    assert message in said[0]
    assert said[1:] == (param, code)
    assert artist.others == []


NO_PNG = "Uploaded image must be a PNG and less than 4 MB."
_LYING = SIGNATURE + header(256, 256) + chunk(b"IDAT", zlib.compress(rows(8, 8))) + chunk(b"IEND", b"")
_LARGE = SIGNATURE + header(50_000, 50_000) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
_JPEG = b"\xff\xd8\xff\xe0 a photograph"


def bomb() -> bytes:
    """A gigabyte, packed into a megabyte."""
    packer = zlib.compressobj(9)
    packed = b"".join([packer.compress(bytes(1 << 24)) for _ in range(64)]) + packer.flush()
    return SIGNATURE + header(1024, 1024) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize("path", [EDITS, VARIATIONS])
@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (_JPEG, NO_PNG),
        (b"GIF89a", NO_PNG),
        (png(64)[:-20], NO_PNG),
        (_LYING, NO_PNG),
        (_LARGE, "too large to be drawn"),
        (png(64, 32), "must be square, got 64x32"),
        (noise(1024), NO_PNG),
        (bomb(), NO_PNG),
    ],
    ids=["jpeg", "gif", "cut off", "lying", "many pixels", "not square", "4 MB", "bomb"],
)
def test_pictures_that_are_wrong(
    path: str, picture: bytes, message: str, http: httpx.Client, artist: ScriptedUpstream
) -> None:
    data = {"prompt": "A hat"} if path == EDITS else {}
    said = refused(http.post(path, files={"image": ("a.png", picture, "image/png")}, data=data))
    assert message in said[0]
    assert said[1] == "image"
    assert artist.others == []


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (half(32), "mask size does not match image size"),
        (_LARGE, "mask size does not match image size"),
        (png(64, colour=2), "mask image missing alpha channel"),
        (_JPEG, NO_PNG),
    ],
    ids=["smaller", "many pixels", "no alpha", "jpeg"],
)
@pytest.mark.parametrize("model", ["dall-e-2", "gpt-image-1"])
def test_masks_that_are_wrong(
    model: str, mask: bytes, message: str, http: httpx.Client, artist: ScriptedUpstream
) -> None:
    files = {"image": png(64), "mask": mask}
    said = refused(http.post(EDITS, files=files, data={"prompt": "A hat", "model": model}))
    assert message in said[0]
    assert said[1] == "mask"
    assert artist.others == []


def test_forms_that_are_wrong(http: httpx.Client, artist: ScriptedUpstream) -> None:
    hat = {"prompt": "A hat"}
    opaque = http.post(EDITS, files={"image": png(64, colour=2)}, data=hat)
    assert refused(opaque)[0] == "Invalid input image - format must be in ['RGBA', 'LA'], got RGB."
    assert refused(http.post(EDITS, data=hat, files={"mask": half()}))[0] == "Missing required parameter: 'image'."
    assert refused(http.post(EDITS, files={"image": png()}))[0] == "Missing required parameter: 'prompt'."
    assert refused(http.post(VARIATIONS, files={"image": b""}))[2] == "empty_file"
    two = [("image[]", png()), ("image[]", png())]
    assert "got an array" in refused(http.post(EDITS, files=two, data=hat))[0]
    assert refused(http.post(VARIATIONS, files={"image": png()}, data=hat))[2] == "unknown_parameter"
    for model in ("dall-e-3", "gpt-image-1"):
        said = refused(http.post(VARIATIONS, files={"image": png()}, data={"model": model}))
        assert said == (f"Invalid value: '{model}'. Value must be 'dall-e-2'.", "model", "invalid_value")
    gif = http.post(EDITS, files={"image": b"GIF89a"}, data={**hat, "model": "gpt-image-1"})
    assert refused(gif)[2] == "unsupported_file_mimetype"
    assert refused(http.post(VARIATIONS, json={"image": "x"}))[0].startswith("Invalid Content-Type")
    assert artist.others == []


def test_a_file_of_any_size_is_no_way_to_fill_the_disk(http: httpx.Client, artist: ScriptedUpstream) -> None:
    declared = refused(http.post(VARIATIONS, files={"image": bytes(53 * 1024 * 1024)}), 413)
    assert declared[2] == "file_too_large"

    def form() -> Iterator[bytes]:
        for _ in range(16):
            yield b'--x\r\nContent-Disposition: form-data; name="image[]"; filename="a.png"\r\n\r\n'
            for _ in range(6):
                yield bytes(1024 * 1024)
            yield b"\r\n"
        yield b"--x--\r\n"

    with httpx.Client(base_url=http.base_url, headers=http.headers) as plain:
        try:
            answer = plain.post(EDITS, content=form(), headers={"content-type": "multipart/form-data; boundary=x"})
        except (httpx.WriteError, httpx.RemoteProtocolError):
            answer = None  # It was closed under our hands, which is the right answer, too.
    assert answer is None or answer.status_code == 413, answer.text
    assert artist.others == []


# --- without a model ------------------------------------------------------------------------------------------------


def test_without_a_model_it_is_said_how_to_add_one(tmp_path: Path) -> None:
    with Everloom(tmp_path) as server, client_of(server) as http:
        said = refused(http.post(GENERATIONS, json={"prompt": "An otter"}), 404)
        assert said[1:] == ("model", "model_not_found")
        assert "The model `dall-e-2` does not exist or you do not have access to it." in said[0]
        assert "diffusers" in said[0]
        assert "docs/images.md" in said[0]
        said = refused(http.post(GENERATIONS, json={"prompt": "An otter", "model": "smollm2-135m"}))
        assert "does not make images" in said[0]
        assert "docs/images.md" in said[0]


# --- URLs -----------------------------------------------------------------------------------------------------------


def test_an_image_is_kept_and_its_url_opens_it_without_a_key(each_server: Everloom, upstream: ScriptedUpstream) -> None:
    upstream.serve(GENERATIONS, drawing_bytes)
    with client_of(each_server) as http:
        one, two = (image["url"] for image in created(http, n=2)["data"])
    assert one != two
    assert one.startswith(each_server.url + "/images/files/img-")
    answer = httpx.get(one)
    assert answer.status_code == 200
    assert answer.content == png(1)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(png(1)))
    assert answer.headers["x-content-type-options"] == "nosniff"
    found = re.fullmatch(r"private, max-age=(\d+), immutable", answer.headers["cache-control"])
    assert found is not None
    assert 3590 <= int(found[1]) <= 3600


def test_a_url_that_was_changed_opens_nothing(server: Everloom, bytes_only: ScriptedUpstream) -> None:
    with client_of(server) as http:
        one, two = (httpx.URL(image["url"]) for image in created(http, n=2)["data"])
    other_project = server.command("keys", "create", "--project", "other-images").strip()
    later = str(int(one.params["expires"]) + 1)
    changed = [
        one.copy_with(query=None),
        one.copy_set_param("expires", later),
        one.copy_set_param("expires", "0" + one.params["expires"]),
        one.copy_set_param("expires", "never"),
        one.copy_set_param("signature", two.params["signature"]),
        one.copy_set_param("signature", one.params["signature"].upper()),
        one.copy_set_param("signature", "\u00e9"),
        one.copy_remove_param("signature"),
        one.copy_with(path=two.path),
        one.copy_with(path=one.path[:-1] + "_"),
        one.copy_with(path="/v1/images/files/img-nobody"),
    ]
    with client_of(server, other_project) as http:
        texts = {refused(http.get(url), 403) for url in changed}
        assert http.get(one).content == png(1)
    assert len(texts) == 1, "what is not there is told from what is there"
    assert "60 minutes" in texts.pop()[0]


def test_what_no_browser_should_run_is_served_as_bytes(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    page = base64.b64encode(b"<script>alert(1)</script>").decode()
    kinds = {page: "application/octet-stream", "data:image/jpeg;base64,/9j/4AAA": "image/jpeg"}
    for given, kind in kinds.items():
        upstream.serve(GENERATIONS, lambda request, b64=given: _answering(b64))
        answer = httpx.get(created(http)["data"][0]["url"])
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


def _answering(b64: str) -> web.Response:
    return web.json_response({"created": 1, "data": [{"b64_json": b64}]})


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"host": "ai.example:8443"}, "http://ai.example:8443/v1/"),
        ({"host": "ai.example", "x-forwarded-proto": "https"}, "https://ai.example/v1/"),
        ({"host": "[::1]:80", "x-forwarded-proto": "HTTPS, http"}, "https://[::1]:80/v1/"),
        ({"host": "ai.example", "x-forwarded-proto": "javascript"}, "http://ai.example/v1/"),
        ({"host": "a.example/evil?x=#"}, "http://127.0.0.1"),
        ({"host": 'a"><script>'}, "http://127.0.0.1"),
        ({"host": "user:secret@a.example"}, "http://127.0.0.1"),
        ({"host": "x" * 5000}, "http://127.0.0.1"),
        ({"host": ""}, "http://127.0.0.1"),
    ],
)
def test_the_url_is_below_what_the_client_called_us(
    headers: dict[str, str], base: str, http: httpx.Client, bytes_only: ScriptedUpstream
) -> None:
    answer = http.post(GENERATIONS, json={"prompt": "An otter"}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["url"].startswith(base)


def test_a_public_url_is_used_whatever_the_client_says(tmp_path: Path, bytes_only: ScriptedUpstream) -> None:
    settings = {"upstream": bytes_only.url, "public_url": "https://ai.example/everloom/v1/"}
    with Everloom(tmp_path, **settings) as server, client_of(server) as http:
        (image,) = created(http)["data"]
    assert image["url"].startswith("https://ai.example/everloom/v1/images/files/img-")


# --- the hour ---------------------------------------------------------------------------------------------------------


def test_after_its_hour_an_image_is_gone(tmp_path: Path, bytes_only: ScriptedUpstream) -> None:
    def older(image: GeneratedImage) -> None:
        image.expires_at -= images.URL_SECONDS

    async def age() -> None:
        database = SqliteDatabase(tmp_path / "everloom.db")
        await database.open()
        try:
            store = database.store(SYSTEM)
            first, second = await store.all(GeneratedImage)
            await store.write(Change(GeneratedImage, first.id, older))
            ports = ports_of(database, tmp_path / "blobs")
            ctx = Context.of(ports, SYSTEM)
            url = httpx.URL(images.address(await store.get(GeneratedImage, first.id), "http://x"))
            with pytest.raises(type(images.closed())):
                await images.opened(ctx, first.id, url.params["expires"], url.params["signature"])
            await images.sweep(ports)
            assert [image.id for image in await store.all(GeneratedImage)] == [second.id]
            assert await store.all(BlobDraft) == []
            assert names(tmp_path / "blobs") == {second.id}
        finally:
            await database.close()

    with Everloom(tmp_path, upstream=bytes_only.url) as server, client_of(server) as http:
        one, two = (image["url"] for image in created(http, n=2)["data"])
        assert httpx.get(one).status_code == 200
        server.kill()
        asyncio.run(age())
        server.start()
        one, two = (server.url + url.partition("/v1")[2] for url in (one, two))
        assert refused(httpx.get(one), 403)[2] == "invalid_image_url"
        assert httpx.get(two).content == png(1)


class Slow:
    """An upstream whose every answer is ``endpoint``'s."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint
        self.url = ""

    def __enter__(self) -> "Slow":
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/{path:.+}", self._endpoint)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()
        await self._stop.wait()
        await runner.cleanup()
