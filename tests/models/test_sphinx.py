"""pocketsphinx: what it understands, what it refuses, and what becomes of its processes."""

import asyncio
import os
import re
import signal
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.base import Form, FormFile
from everloom.models.transcription import pool
from everloom.models.transcription.sphinx import SphinxBackend
from tests.recordings import FORMATS, WORDS, encoded, silence, spoken, wav


@asynccontextmanager
async def opened() -> AsyncIterator[SphinxBackend]:
    backend = SphinxBackend()
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def form(folder: Path, content: bytes, **fields: str) -> Form:
    path = folder / f"{len(os.listdir(folder))}"
    path.write_bytes(content)
    file = FormFile(field="file", filename="a.wav", content_type="audio/wav", path=path, size=len(content))
    named = [("model", "pocketsphinx"), *((name.replace("__", "[]"), value) for name, value in fields.items())]
    return Form(fields=tuple(named), files=(file,))


async def heard(backend: SphinxBackend, form: Form) -> bytes:
    answer = await backend.transcribe(form)
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


async def text(backend: SphinxBackend, form: Form) -> str:
    found: str = msgspec.json.decode(await heard(backend, form))["text"]
    return found


async def refusal(backend: SphinxBackend, form: Form) -> BadRequest:
    with pytest.raises(BadRequest) as error:
        await heard(backend, form)
    return error.value


def test_every_format_of_the_reference_is_understood(tmp_path: Path) -> None:
    async def run() -> dict[str, str]:
        async with opened() as backend:
            return {kind: await text(backend, form(tmp_path, encoded(kind))) for kind in ("wav", *FORMATS)}

    for kind, found in asyncio.run(run()).items():
        assert len(WORDS & set(found.split())) >= 7, (kind, found)


def test_words_have_their_times(tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        async with opened() as backend:
            asked = form(tmp_path, spoken(), response_format="verbose_json", timestamp_granularities__="word")
            return msgspec.json.decode(await heard(backend, asked))  # type: ignore[no-any-return]

    found = asyncio.run(run())
    words = found["words"]
    assert " ".join(word["word"] for word in words) == found["text"]
    assert all(0 <= word["start"] < word["end"] <= found["duration"] for word in words)
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)
    assert not re.search(r"[<(\[]", found["text"])
    times = {word["word"]: word["start"] for word in words}
    assert times["house"] < times["people"]


def test_the_same_file_gives_the_same_words_whatever_came_before(tmp_path: Path) -> None:
    other = spoken("How are you this morning?")

    async def run() -> list[str]:
        async with opened() as backend:
            files = [spoken(), other, spoken(), other]
            return [await text(backend, form(tmp_path, file)) for file in files]

    first, second, third, fourth = asyncio.run(run())
    assert (first, second) == (third, fourth)
    assert first != second


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + b"\0" * 1000,
        b"\xff\xfb\x90\x64" + bytes(range(256)) * 100,
        b"\x1a\x45\xdf\xa3" + bytes(range(256)) * 100,
        b"\0\0\0\x20ftypM4A " + bytes(range(256)) * 100,
        b"ID3\x04\0\0\0\0\0\0#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        wav(b"\x80" * 100_000, rate=1, width=1),
        wav(b""),
    ],
    ids=["png", "mp3", "webm", "m4a", "playlist", "years", "nothing"],
)
def test_what_cannot_be_decoded_is_refused(content: bytes, tmp_path: Path) -> None:
    async def run() -> BadRequest:
        async with opened() as backend:
            return await refusal(backend, form(tmp_path, content))

    error = asyncio.run(run())
    assert error.message == "The audio file could not be decoded or its format is not supported."
    assert error.param == "file"


def test_a_file_that_breaks_off_gives_what_is_there(tmp_path: Path) -> None:
    whole = encoded("mp3")

    async def run() -> str:
        async with opened() as backend:
            return await text(backend, form(tmp_path, whole[: len(whole) * 2 // 3]))

    assert WORDS & set(asyncio.run(run()).split())


def test_a_header_that_promises_more_than_there_is_counts_for_nothing(tmp_path: Path) -> None:
    content = bytearray(wav(b"\0\0" * 16_000, rate=16_000))
    content[40:44] = struct.pack("<I", 0xFFFFFFF0)

    async def run() -> dict[str, Any]:
        async with opened() as backend:
            return msgspec.json.decode(await heard(backend, form(tmp_path, bytes(content))))  # type: ignore[no-any-return]

    assert asyncio.run(run()) == {"text": "", "usage": {"type": "duration", "seconds": 1}}


def test_silence_and_length_cost_little(tmp_path: Path) -> None:
    async def run() -> tuple[str, float, BadRequest, BadRequest]:
        async with opened() as backend:
            hour = form(tmp_path, silence(3600))
            begun = time.monotonic()
            said = await text(backend, hour)
            took = time.monotonic() - begun
            too_long = await refusal(backend, form(tmp_path, silence(2 * 3600 + 1, rate=8_000)))
            too_short = await refusal(backend, form(tmp_path, wav(b"\0\0" * 1000, rate=16_000)))
        return said, took, too_long, too_short

    said, took, too_long, too_short = asyncio.run(run())
    assert said == ""
    assert took < 60, "an hour of silence is to be decoded, and not listened to"
    assert "longer than 7200 seconds" in too_long.message
    assert (too_short.code, too_short.status) == ("audio_too_short", 400)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"language": "de"}, "language", "unsupported_language"),
        ({"prompt": "Weather in Oslo"}, "prompt", "unsupported_parameter"),
        ({"temperature": "0.5"}, "temperature", "unsupported_value"),
        ({"include__": "logprobs"}, "include", "unsupported_parameter"),
        ({"keywords__": "Oslo"}, "keywords", "unsupported_parameter"),
        ({"languages__": "en"}, "languages", "unsupported_parameter"),
        ({"known_speaker_names__": "Ann"}, "known_speaker_names", "unsupported_parameter"),
        ({"response_format": "diarized_json"}, "response_format", "unsupported_value"),
        ({"response_format": "srt", "stream": "true"}, "response_format", "unsupported_value"),
        ({"chunking_strategy": '{"type": "server_vad"}'}, "chunking_strategy", "unsupported_parameter"),
        ({"chunking_strategy": "{}"}, "chunking_strategy", None),
    ],
)
def test_what_it_cannot_do_is_refused(fields: dict[str, str], param: str, code: str | None, tmp_path: Path) -> None:
    async def run() -> BadRequest:
        async with opened() as backend:
            error = await refusal(backend, form(tmp_path, spoken(), **fields))
            assert backend.children() == [], "no process is started for what will be refused"
        return error

    error = asyncio.run(run())
    assert (error.param, error.code) == (param, code)


def test_what_changes_nothing_is_taken(tmp_path: Path) -> None:
    fields = {"language": "en", "prompt": "", "temperature": "0", "chunking_strategy": "auto", "stream": "false"}

    async def run() -> str:
        async with opened() as backend:
            return await text(backend, form(tmp_path, silence(1), **fields))

    assert asyncio.run(run()) == ""


def test_it_does_not_translate(tmp_path: Path) -> None:
    async def run() -> BadRequest:
        async with opened() as backend:
            with pytest.raises(BadRequest) as error:
                await backend.transcribe(form(tmp_path, spoken()), translate=True)
        return error.value

    error = asyncio.run(run())
    assert "faster-whisper" in error.message
    assert (error.param, error.code) == ("model", "invalid_model")


def test_a_process_that_dies_fails_its_file_alone(tmp_path: Path) -> None:
    async def run() -> tuple[ModelFailure, str, list[int]]:
        async with opened() as backend:
            answer = await backend.transcribe(form(tmp_path, spoken(), stream="true"))
            (pid,) = backend.children()
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ModelFailure) as error:
                async for _ in answer.blocks():
                    pass
            await answer.close()
            said = await text(backend, form(tmp_path, spoken()))
            return error.value, said, [pid, *backend.children()]

    error, said, (dead, *alive) = asyncio.run(run())
    assert "ended in the middle of this file" in error.message
    assert WORDS & set(said.split())
    assert dead not in alive


def test_whoever_leaves_is_not_waited_for(tmp_path: Path) -> None:
    """Two long files hold both processes; once their clients have left, others have their turn."""
    long = wav(b"".join([spoken()[44:]] * 20))

    async def run() -> tuple[str, float]:
        async with opened() as backend:
            tasks = [asyncio.create_task(heard(backend, form(tmp_path, long))) for _ in range(3)]
            await asyncio.sleep(2.0)
            assert len(backend.children()) == 2
            begun = time.monotonic()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            left = time.monotonic() - begun
            said = await text(backend, form(tmp_path, spoken()))
            for pid in backend.children():
                os.kill(pid, 0)
            assert len(backend.children()) <= 2
        return said, left

    said, left = asyncio.run(run())
    assert WORDS & set(said.split())
    assert left < 1.0


def test_a_client_may_leave_at_any_moment(tmp_path: Path) -> None:
    """While the process starts, loads, reads the file, listens: whoever comes next gets an answer to his own file."""

    async def run() -> list[str]:
        said = []
        async with opened() as backend:
            for moment in (0.0, 0.02, 0.1, 0.25, 0.4, 0.6, 1.0):
                tasks = [asyncio.create_task(heard(backend, form(tmp_path, spoken()))) for _ in range(2)]
                await asyncio.sleep(moment)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                said.append(await text(backend, form(tmp_path, silence(1))))
            said.append(await text(backend, form(tmp_path, spoken())))
        return said

    *nothing, words = asyncio.run(run())
    assert set(nothing) == {""}
    assert WORDS & set(words.split())


def test_who_comes_to_a_long_queue_is_sent_away(tmp_path: Path) -> None:
    async def run() -> ModelFailure:
        async with opened() as backend:
            waiting = [
                asyncio.create_task(heard(backend, form(tmp_path, spoken()))) for _ in range(pool.LONGEST_QUEUE + 2)
            ]
            await asyncio.sleep(0.1)
            with pytest.raises(ModelFailure) as error:
                await heard(backend, form(tmp_path, spoken()))
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        return error.value

    error = asyncio.run(run())
    assert (error.status, error.code) == (503, "overloaded")


def test_a_stream_brings_the_words_as_they_come(tmp_path: Path) -> None:
    async def run() -> list[dict[str, Any]]:
        async with opened() as backend:
            pause = b"\0\0" * 22_050
            twice = wav(spoken()[44:] + pause + spoken()[44:])
            body = await heard(backend, form(tmp_path, twice, stream="true"))
        return [msgspec.json.decode(event.removeprefix(b"data: ")) for event in body.split(b"\n\n") if event]

    *deltas, done = asyncio.run(run())
    assert len(deltas) >= 2
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert done == {"type": "transcript.text.done", "text": "".join(event["delta"] for event in deltas)}
