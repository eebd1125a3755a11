"""Transcriptions and translations over HTTP: the model in the box, and an upstream behind the server."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from everloom.models.transcription.audio_decoding import TOO_SHORT, UNDECODABLE, Refused, samples
from tests.odd_sounds import mutated, odd_wavs
from tests.recordings import WORDS, encoded, silence, spoken, wav
from tests.scripted import Request, ScriptedUpstream
from tests.servers import API_KEY, Everloom

MEGABYTE = 1024 * 1024

TRANSCRIPTIONS = "/audio/transcriptions"
TRANSLATIONS = "/audio/translations"

PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 1000

SEGMENT = {
    "id": int,
    "seek": int,
    "start": float,
    "end": float,
    "text": str,
    "tokens": list,
    "temperature": float,
    "avg_logprob": float,
    "compression_ratio": float,
    "no_speech_prob": float,
}


def transcription(request: Request) -> web.StreamResponse:
    """How long the file was, in the format asked for."""
    (audio,) = (part for part in request.form if part.name == "file")
    text = f"I heard {len(audio.content)} bytes."
    format = request.field("response_format") or "json"
    if format == "vtt":
        return web.Response(text=f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n\n")
    verbose = {"task": "transcribe", "language": "english", "duration": 1.0} if format == "verbose_json" else {}
    return web.json_response({**verbose, "text": text})


@pytest.fixture(autouse=True)
def _answering(upstream: ScriptedUpstream) -> None:
    upstream.serve(TRANSCRIPTIONS, transcription)
    upstream.serve(TRANSLATIONS, transcription)


def ask(
    http: httpx.Client,
    content: bytes,
    path: str = TRANSCRIPTIONS,
    *,
    model: str | None = "pocketsphinx",
    filename: str = "speech.wav",
    **fields: Any,
) -> httpx.Response:
    data = {name.replace("__", "[]"): value for name, value in fields.items()}
    data |= {} if model is None else {"model": model}
    return http.post(path, data=data, files={"file": (filename, content)}, timeout=120)


def error_of(answer: httpx.Response) -> tuple[int, str, str | None, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["message"], error["param"], error["code"]


# --- the model in the box ------------------------------------------------------------------------------------------


def test_json_is_the_text(http: httpx.Client) -> None:
    answer = ask(http, spoken())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert WORDS & set(body["text"].split())
    assert body == {"text": body["text"], "usage": {"type": "duration", "seconds": 5}}


def test_text_and_subtitles_are_plain_text(http: httpx.Client) -> None:
    twice = wav(spoken()[44:] + b"\0\0" * 22_050 + spoken()[44:])
    said = {format: ask(http, twice, response_format=format) for format in ("text", "srt", "vtt")}
    assert {answer.headers["content-type"] for answer in said.values()} == {"text/plain; charset=utf-8"}
    assert said["text"].text.endswith("\n")
    words = said["text"].text.split()
    cues = re.findall(r"(\d+)\n(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})\n(.+)\n\n", said["srt"].text)
    assert [number for number, *_ in cues] == [str(number) for number in range(1, len(cues) + 1)]
    assert len(cues) >= 2
    assert all(begin < end for _, begin, end, _ in cues)
    assert " ".join(text for *_, text in cues).split() == words
    head, *blocks = said["vtt"].text.strip().split("\n\n")
    assert head == "WEBVTT"
    times = [f"{begin} --> {end}".replace(",", ".") for _, begin, end, _ in cues]
    assert [block.split("\n")[0] for block in blocks] == times


@pytest.mark.parametrize("granularities", [[], ["word"], ["word", "segment"]])
def test_verbose_json_has_what_was_asked_for(granularities: list[str], http: httpx.Client) -> None:
    answer = ask(http, spoken(), response_format="verbose_json", timestamp_granularities__=granularities)
    body = answer.json()
    parts = {f"{granularity}s" for granularity in granularities or ["segment"]}
    assert set(body) == {"task", "language", "duration", "text", "usage"} | parts
    assert (body["task"], body["language"]) == ("transcribe", "english")
    assert body["duration"] == pytest.approx(len(spoken()) / 2 / 22_050, abs=0.1)
    for number, segment in enumerate(body.get("segments", [])):
        assert {name: type(value) for name, value in segment.items()} == SEGMENT
        assert segment["id"] == number
        assert segment["text"].startswith(" ")
    for word in body.get("words", []):
        assert {name: type(value) for name, value in word.items()} == {"word": str, "start": float, "end": float}
    if "segments" in body:
        assert "".join(segment["text"] for segment in body["segments"]).strip() == body["text"]
    if "words" in body:
        assert " ".join(word["word"] for word in body["words"]) == body["text"]


def test_a_stream_is_events(http: httpx.Client) -> None:
    answer = ask(http, spoken(), stream="true")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    assert events[-1]["type"] == "transcript.text.done"
    assert "".join(event["delta"] for event in events[:-1]) == events[-1]["text"]


def test_a_translation_is_refused_and_says_what_would_translate(http: httpx.Client) -> None:
    status, message, param, code = error_of(ask(http, spoken(), TRANSLATIONS))
    assert (status, param, code) == (400, "model", "invalid_model")
    assert "faster-whisper" in message


def test_a_model_of_another_kind_is_refused(http: httpx.Client) -> None:
    status, message, param, code = error_of(ask(http, spoken(), model="smollm2-135m"))
    assert (status, param, code) == (400, "model", "invalid_model")
    assert "`pocketsphinx` does" in message


def undecodable(tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    """The sounds with odd heads of which nothing can be heard."""
    for name, data in (*odd_wavs(), *mutated(10)):
        (tmp_path / "sound").write_bytes(data)
        try:
            samples(tmp_path / "sound")
        except (Refused, MemoryError):
            yield name, data


def test_an_odd_sound_is_the_callers_fault(tmp_path: Path, http: httpx.Client) -> None:
    odd = dict(undecodable(tmp_path))
    assert {"codec 0x674f", "codec 0xffff", "no data", "0 channels", "0 Hz"} <= set(odd)
    for name, data in odd.items():
        status, message, param, code = error_of(ask(http, data))
        assert (status, param) == (400, "file"), name
        assert (message, code) in (
            (UNDECODABLE, "invalid_value"),
            (TOO_SHORT, "audio_too_short"),
            (f"Invalid file format. Supported formats: {_FORMATS}", "invalid_file_format"),
        ), name
    for name in ("codec 0x674f", "no data", "0 Hz"):
        assert error_of(ask(http, odd[name], TRANSLATIONS))[0] == 400


def test_a_client_that_leaves_stops_the_work(server: Everloom, http: httpx.Client) -> None:
    long = wav(spoken()[44:] * 60)
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            http.post(TRANSCRIPTIONS, data={"model": "pocketsphinx"}, files={"file": ("a.wav", long)}, timeout=1.5)
    begun = time.monotonic()
    assert ask(http, spoken()).status_code == 200
    assert time.monotonic() - begun < 45, "two files of minutes were in the way"


def test_what_was_heard_is_counted(server: Everloom, http: httpx.Client) -> None:
    before = heard_seconds(server, "pocketsphinx")
    ask(http, silence(7), response_format="text")
    assert heard_seconds(server, "pocketsphinx") - before == pytest.approx(7)
    before = heard_seconds(server, "whisper-1")
    ask(http, silence(1), model="whisper-1", response_format="verbose_json")
    assert heard_seconds(server, "whisper-1") - before == pytest.approx(1)


def heard_seconds(server: Everloom, model: str) -> float:
    metrics = httpx.get(server.url.removesuffix("/v1") + "/metrics").text
    found = re.search(rf'^everloom_model_audio_seconds_total\{{model="{model}"\}} (\S+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


# --- what is refused, whoever would answer -------------------------------------------------------------------------

_FORMATS = "['flac', 'm4a', 'mp3', 'mp4', 'mpeg', 'mpga', 'oga', 'ogg', 'wav', 'webm']"


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize("model", ["pocketsphinx", "whisper-1"])
def test_bad_files_are_refused(path: str, model: str, http: httpx.Client, upstream: ScriptedUpstream) -> None:
    picture = ask(http, PICTURE, path, model=model, filename="speech.mp3")
    assert error_of(picture) == (
        400,
        f"Invalid file format. Supported formats: {_FORMATS}",
        "file",
        "invalid_file_format",
    )
    playlist = ask(http, b"#EXTM3U\nfile:///etc/passwd\n", path, model=model, filename="speech.mp3")
    assert playlist.status_code == 400
    nothing = ask(http, b"", path, model=model)
    assert error_of(nothing) == (400, "Invalid 'file': the file is empty.", "file", "empty_file")
    large = ask(http, wav(b"\0" * 26 * MEGABYTE), path, model=model)
    status, message, param, code = error_of(large)
    assert (status, param, code) == (413, "file", "file_too_large")
    assert message.startswith("Maximum content size limit (26214400) exceeded")
    assert not upstream.others


def test_a_file_of_exactly_the_limit_is_taken(http: httpx.Client) -> None:
    assert ask(http, wav(b"\0" * (25 * MEGABYTE - 44)), model="whisper-1").status_code == 200
    assert ask(http, wav(b"\0" * (25 * MEGABYTE - 43)), model="whisper-1").status_code == 413


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"response_format": "xml"}, "response_format", "invalid_value"),
        ({"temperature": "1.5"}, "temperature", "decimal_above_max_value"),
        ({"temperature": "warm"}, "temperature", "invalid_type"),
        ({"language": "english"}, "language", "invalid_language_format"),
        ({"language": "xx"}, "language", "invalid_language_format"),
        ({"timestamp_granularities__": ["word"]}, "timestamp_granularities", "invalid_value"),
        (
            {"timestamp_granularities__": ["page"], "response_format": "verbose_json"},
            "timestamp_granularities[0]",
            "invalid_value",
        ),
        ({"chunking_strategy": "sometimes"}, "chunking_strategy", "invalid_value"),
        ({"include__": ["everything"]}, "include[0]", "invalid_value"),
        ({"known_speaker_names__": list("abcde")}, "known_speaker_names", "array_above_max_length"),
        ({"prompt": "a" * 70_000}, "prompt", "string_above_max_length"),
        ({"voice": "alloy"}, "voice", "unknown_parameter"),
        ({"model": None}, "model", "missing_required_parameter"),
        ({"model": ""}, "model", "missing_required_parameter"),
    ],
)
def test_bad_parameters_are_refused(fields: dict[str, Any], param: str, code: str, http: httpx.Client) -> None:
    answer = ask(http, spoken(), **{"model": "whisper-1", **fields})
    assert error_of(answer)[0] in (400, 404)
    assert error_of(answer)[2:] == (param, code), answer.text


def test_translations_have_fewer_parameters(http: httpx.Client) -> None:
    for fields in ({"language": "de"}, {"timestamp_granularities__": ["word"]}, {"stream": "true"}):
        assert error_of(ask(http, spoken(), TRANSLATIONS, model="whisper-1", **fields))[3] == "unknown_parameter"


def test_a_form_has_one_file(http: httpx.Client) -> None:
    two = [("file", ("a.wav", spoken())), ("file", ("b.wav", spoken()))]
    assert error_of(http.post(TRANSCRIPTIONS, data={"model": "whisper-1"}, files=two))[2] == "file"
    other = http.post(TRANSCRIPTIONS, data={"model": "whisper-1"}, files={"file[]": ("a.wav", spoken())})
    assert error_of(other)[2:] == ("file[]", "unknown_parameter")
    none = http.post(TRANSCRIPTIONS, files={"model": (None, "whisper-1")})
    assert error_of(none)[2:] == ("file", "missing_required_parameter")
    text = http.post(TRANSCRIPTIONS, files={"model": (None, "whisper-1"), "file": (None, "speech.wav")})
    assert error_of(text)[2:] == ("file", "invalid_type")


# --- an upstream ---------------------------------------------------------------------------------------------------


def test_the_form_goes_on_as_it_came(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    fields = {
        "language": "de",
        "prompt": "Wetter, in Oslo",
        "response_format": "verbose_json",
        "temperature": "0.2",
        "timestamp_granularities__": ["word", "segment"],
        "include__": ["logprobs"],
        "chunking_strategy": "auto",
        "keywords__": ["Oslo"],
        "known_speaker_names__": ["Ann"],
        "known_speaker_references__": ["data:audio/wav;base64," + "A" * 1_000_000],
    }
    answer = ask(http, encoded("mp3"), model="whisper-1", filename="Rede Nr. 1 für Ann.mp3", **fields)
    assert answer.status_code == 200
    assert answer.json()["text"] == f"I heard {len(encoded('mp3'))} bytes."
    (asked,) = upstream.others
    assert asked.path == "/v1/audio/transcriptions"
    texts = [(part.name, part.content.decode()) for part in asked.form if part.filename is None]
    expected = [("model", "whisper-1")]
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        expected += [(name.replace("__", "[]"), each) for each in values]
    assert sorted(texts) == sorted(expected)
    (file,) = (part for part in asked.form if part.filename is not None)
    assert (file.name, file.filename, file.content) == ("file", "Rede Nr. 1 für Ann.mp3", encoded("mp3"))


def test_a_translation_goes_to_its_own_endpoint(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    answer = ask(http, spoken(), TRANSLATIONS, model="whisper-1", response_format="vtt")
    assert answer.text.startswith("WEBVTT")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert [asked.path for asked in upstream.others] == ["/v1/audio/translations"]


def test_a_stream_comes_through_and_one_that_breaks_off_says_so(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    delta = b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\n'
    done = b'data: {"type":"transcript.text.done","text":"Hi"}\n\n'

    def streams(body: bytes) -> None:
        upstream.serve(TRANSCRIPTIONS, lambda _: web.Response(body=body, content_type="text/event-stream"))

    streams(delta + done)
    whole = ask(http, spoken(), model="gpt-4o-transcribe", stream="true")
    assert whole.content == delta + done
    streams(delta + b'data: {"type":"transcript')
    broken = ask(http, spoken(), model="gpt-4o-transcribe", stream="true")
    assert broken.content.startswith(delta)
    assert json.loads(broken.text.strip().rpartition("data: ")[2])["error"]["code"] == "upstream_broken"


def test_a_stream_that_is_answered_whole_is_handed_on_whole(http: httpx.Client) -> None:
    """As the platform does for whisper-1, which passes over ``stream``."""
    answer = ask(http, spoken(), model="whisper-1", stream="true")
    assert answer.headers["content-type"] == "application/json"


def test_an_attempt_that_fails_is_made_again_from_the_beginning(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    def flaky(request: Request) -> web.StreamResponse:
        if len(upstream.others) == 1:
            return web.json_response({"error": {"message": "later"}}, status=503)
        return transcription(request)

    upstream.serve(TRANSCRIPTIONS, flaky)
    assert ask(http, spoken(), model="whisper-1").json()["text"] == f"I heard {len(spoken())} bytes."
    first, second = upstream.others
    assert first.form == second.form


def test_the_upstreams_refusal_is_the_callers(http: httpx.Client, upstream: ScriptedUpstream) -> None:
    error = {"message": "Audio file might be corrupted", "type": "invalid_request_error", "param": "file", "code": "x"}
    upstream.serve(TRANSCRIPTIONS, lambda _: web.json_response({"error": error}, status=400))
    assert error_of(ask(http, spoken(), model="whisper-1")) == (400, error["message"], "file", "x")


def memory(pid: int) -> int:
    """The most memory the process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a process's memory")
def test_twenty_megabytes_go_through_without_being_held(server: Everloom, http: httpx.Client) -> None:
    ask(http, spoken(), model="whisper-1")
    before = memory(server.pid)
    size = 20 * MEGABYTE
    content = wav(os.urandom(size))
    for _ in range(3):
        assert ask(http, content, model="whisper-1").json()["text"] == f"I heard {len(content)} bytes."
    assert memory(server.pid) - before < 12 * MEGABYTE


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """An upstream that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_client_that_leaves_stops_the_upstream(silent: socket.socket, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
    with Everloom(tmp_path, upstream=url) as server:
        headers = {"authorization": f"Bearer {API_KEY}"}
        with httpx.Client(base_url=server.url, headers=headers) as http, pytest.raises(httpx.ReadTimeout):
            http.post(TRANSCRIPTIONS, data={"model": "w"}, files={"file": ("a.wav", spoken())}, timeout=2)
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(10)
            while connection.recv(65_536):
                pass  # until it is closed, which ends the loop
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait() == 0
