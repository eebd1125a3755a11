"""createSpeech over HTTP: the model in the box, and an upstream."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.models.sounds import sound_of
from tests.scripted import Request, ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of

TEXT = "The quick brown fox jumps over the lazy dog."
BODY = {"model": "espeak-ng", "input": TEXT, "voice": "alloy"}
MEDIA = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


@pytest.mark.parametrize("format", MEDIA)
def test_speech_comes_in_chunks_of_what_was_asked_for(http: httpx.Client, format: str) -> None:
    answer = http.post("/audio/speech", json=BODY | {"response_format": format})
    assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA[format])
    assert answer.headers["transfer-encoding"] == "chunked"
    sound = sound_of(answer.content, format)
    assert 2 < sound.seconds < 4
    assert sound.loudness > 0.02


def test_mp3_is_what_comes_unasked(http: httpx.Client) -> None:
    answer = http.post("/audio/speech", json=BODY)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert sound_of(answer.content, "mp3").codec == "mp3float"


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"input": ""}, "input", "empty_string"),
        ({"input": "a" * 4097}, "input", "string_above_max_length"),
        ({"input": 7}, "input", "invalid_type"),
        ({"input": None}, "input", "invalid_type"),
        ({"voice": "thora"}, "voice", "invalid_value"),
        ({"voice": "../../etc/passwd"}, "voice", "invalid_value"),
        ({"voice": ""}, "voice", "empty_string"),
        ({"voice": {"id": "voice_1"}}, "voice", "invalid_value"),
        ({"voice": {}}, "voice.id", "missing_required_parameter"),
        ({"voice": 7}, "voice", "invalid_type"),
        ({"response_format": "midi"}, "response_format", "invalid_value"),
        ({"speed": 0.24}, "speed", "decimal_below_min_value"),
        ({"speed": 4.01}, "speed", "decimal_above_max_value"),
        ({"speed": "fast"}, "speed", "invalid_type"),
        ({"instructions": "Whisper."}, "instructions", "unsupported_parameter"),
        ({"instructions": "a" * 4097}, "instructions", "string_above_max_length"),
        ({"stream_format": "rtp"}, "stream_format", "invalid_value"),
        ({"language": "de"}, "language", "unknown_parameter"),
        ({"model": "smollm2-135m"}, "model", "invalid_model"),
    ],
)
def test_what_cannot_be_spoken_is_refused(http: httpx.Client, change: dict[str, Any], param: str, code: str) -> None:
    answer = http.post("/audio/speech", json=BODY | change)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize("missing", BODY)
def test_what_must_be_there_is_missed(http: httpx.Client, missing: str) -> None:
    answer = http.post("/audio/speech", json={name: value for name, value in BODY.items() if name != missing})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"Missing required parameter: '{missing}'."


def test_an_unknown_voice_is_told_the_known_ones(http: httpx.Client) -> None:
    error = http.post("/audio/speech", json=BODY | {"voice": "thora"}).json()["error"]
    assert error["message"].startswith(
        "Invalid value: 'thora'. Supported values are: 'alloy', 'ash', 'ballad', 'cedar',"
    )


def test_a_program_that_asks_for_tts_finds_out_how(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    """The scripted upstream has no speech, which it says only when it is asked."""
    answer = http.post("/audio/speech", json=BODY | {"model": "tts-1"})
    assert answer.status_code == 502
    assert "has no speech" in answer.json()["error"]["message"]


def test_events_can_be_asked_for(http: httpx.Client) -> None:
    answer = http.post("/audio/speech", json=BODY | {"stream_format": "sse", "response_format": "wav"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    assert [event["type"] for event in events][-1] == "speech.audio.done"
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert sound_of(sound, "wav").loudness > 0.02


def test_who_leaves_leaves_the_engine_to_others(server: Everloom, http: httpx.Client) -> None:
    """Twenty minutes of speech at a quarter of the speed, eight times, and nobody listens."""
    endless = BODY | {"input": "漢字" * 2048, "speed": 0.25, "response_format": "pcm"}
    for _ in range(8):
        with client_of(server) as leaving, leaving.stream("POST", "/audio/speech", json=endless) as answer:
            assert next(answer.iter_raw())
    assert http.post("/audio/speech", json=BODY).status_code == 200


def test_speech_is_metered(server: Everloom, http: httpx.Client) -> None:
    before = metered(server)
    http.post("/audio/speech", json=BODY)
    http.post("/audio/speech", json=BODY | {"voice": "thora"})
    after = metered(server)
    assert {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)} == {
        'requests_total{model="espeak-ng",outcome="completed"}': 1,
        'requests_total{model="espeak-ng",outcome="refused"}': 1,
        'characters_total{model="espeak-ng"}': len(TEXT),
    }


def metered(server: Everloom) -> dict[str, float]:
    metrics = httpx.get(server.url.removesuffix("/v1") + "/metrics").text
    found = re.findall(r"^everloom_model_(\w+_total\{.*espeak-ng.*\}) ([0-9.]+)$", metrics, re.MULTILINE)
    return {name: float(value) for name, value in found}


# --- an upstream ---------------------------------------------------------------------------------------------------


def test_an_upstreams_sound_passes_as_it_comes(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    media = "application/octet-stream"
    upstream.serve("/audio/speech", lambda request: web.Response(body=b"RIFFsound", content_type=media))
    asked = {
        "model": "gpt-4o-mini-tts",
        "input": "Hi",
        "voice": "af_bella",
        "response_format": "wav",
        "speed": 1.5,
        "instructions": "Whisper.",
    }
    answer = http.post("/audio/speech", json=asked)
    assert (answer.status_code, answer.content) == (200, b"RIFFsound")
    assert answer.headers["content-type"] == media
    assert upstream.others[0].path == "/v1/audio/speech"
    assert upstream.others[0].body == asked


def test_an_upstreams_events_pass_as_they_come(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    delta = {"type": "speech.audio.delta", "audio": "AAAA"}
    done = {"type": "speech.audio.done", "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}
    frames = "".join(f"data: {json.dumps(event)}\n\n" for event in (delta, done)).encode()
    upstream.serve("/audio/speech", lambda request: web.Response(body=frames, content_type="text/event-stream"))
    asked = {"model": "gpt-4o-mini-tts", "input": "Hi", "voice": {"id": "voice_1"}, "stream_format": "sse"}
    answer = http.post("/audio/speech", json=asked)
    assert answer.content == frames
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert upstream.others[0].body == asked


def test_an_upstreams_refusal_is_its_own(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    error = {"message": "No such voice.", "type": "invalid_request_error", "param": "voice", "code": "invalid_value"}
    upstream.serve("/audio/speech", lambda request: web.json_response({"error": error}, status=400))
    answer = http.post("/audio/speech", json={"model": "tts-1", "input": "Hi", "voice": "x"})
    assert (answer.status_code, answer.json()["error"]) == (400, error)


class Endless:
    """An upstream's sound without an end; ``sent`` are the blocks that were taken so far."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, request: Request) -> web.Response:
        return web.Response(body=self._blocks(), content_type="audio/mpeg")

    async def _blocks(self) -> AsyncIterator[bytes]:
        while True:
            yield b"sound" * 100
            self.sent += 1
            await asyncio.sleep(0.01)

    def stands(self) -> bool:
        """Whether nobody takes any more."""
        before = self.sent
        time.sleep(0.3)
        return self.sent == before


@pytest.fixture
def endless(upstream: ScriptedUpstream) -> Endless:
    sound = Endless()
    upstream.serve("/audio/speech", sound)
    return sound


def test_who_leaves_stops_the_upstream(server: Everloom, upstream: ScriptedUpstream, endless: Endless) -> None:
    asked = {"model": "tts-1", "input": "Hi", "voice": "alloy"}
    with client_of(server) as client, client.stream("POST", "/audio/speech", json=asked) as answer:
        blocks = answer.iter_raw()  # let go of it, and the answer is closed
        assert next(blocks).startswith(b"sound")
        assert not endless.stands()
    assert upstream.wait(endless.stands)
