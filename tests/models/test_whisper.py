"""faster-whisper, asked for everything it does, with a model that says what it is told to (``whisper_model.py``)."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.base import Form, FormFile
from everloom.models.files.formats import format_of
from everloom.models.memory_budget import MemoryBudget
from everloom.models.transcription.whisper import WhisperBackend
from tests.models.whisper_model import TRANSCRIBED, TRANSLATED, make
from tests.recordings import encoded, silence, spoken
from tests.servers import Everloom
from tests.servers import http as client_of

pytest.importorskip("faster_whisper", reason="needs the extra [whisper]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("whisper") / "model")


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[WhisperBackend]:
    backend = WhisperBackend({"whisper-tiny": folder}, MemoryBudget(1 << 40), threads=1)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def form(where: Path, content: bytes, *fields: tuple[str, str]) -> Form:
    path = where / f"{len(os.listdir(where))}"
    path.write_bytes(content)
    file = FormFile(field="file", filename="a.wav", content_type="audio/wav", path=path, size=len(content))
    return Form(fields=(("model", "whisper-tiny"), *fields), files=(file,))


async def heard(backend: WhisperBackend, form: Form, *, translate: bool = False) -> bytes:
    answer = await backend.transcribe(form, translate=translate)
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


async def verbose(backend: WhisperBackend, form: Form, *, translate: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(await heard(backend, form, translate=translate))
    return found


VERBOSE = ("response_format", "verbose_json")
WORDS = ("timestamp_granularities[]", "word")
SEGMENTS = ("timestamp_granularities[]", "segment")


def test_its_files_tell_what_it_is(folder: Path) -> None:
    assert format_of(folder) == "whisper"


def test_words_segments_and_the_language_come_from_the_model(folder: Path, tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        async with opened(folder) as backend:
            return await verbose(backend, form(tmp_path, encoded("mp3"), VERBOSE, WORDS, SEGMENTS))

    found = asyncio.run(run())
    assert (found["task"], found["language"]) == ("transcribe", "german")
    assert found["text"] == " ".join(TRANSCRIBED)
    times = [0.0, 0.5, 1.0, 1.5, 2.0]
    assert found["words"] == [
        {"word": word, "start": begin, "end": end}
        for word, begin, end in zip(TRANSCRIBED, times, times[1:], strict=False)
    ]
    (segment,) = found["segments"]
    assert (segment["start"], segment["end"], segment["temperature"]) == (0.0, 2.0, 0.0)
    assert segment["text"] == " " + found["text"]
    assert len(segment["tokens"]) == 6
    assert -1 < segment["avg_logprob"] <= 0


def test_a_translation_is_english(folder: Path, tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        async with opened(folder) as backend:
            return await verbose(backend, form(tmp_path, spoken(), VERBOSE), translate=True)

    found = asyncio.run(run())
    assert (found["task"], found["language"], found["text"]) == ("translate", "english", " ".join(TRANSLATED))


def test_every_parameter_reaches_the_model(folder: Path, tmp_path: Path) -> None:
    fields = [
        ("language", "fr"),
        ("prompt", "Le temps"),
        ("temperature", "0.5"),
        ("keywords[]", "Oslo"),
        ("chunking_strategy[type]", "server_vad"),
        ("chunking_strategy[threshold]", "0.3"),
        ("chunking_strategy[silence_duration_ms]", "500"),
    ]

    async def run() -> dict[str, Any]:
        async with opened(folder) as backend:
            return await verbose(backend, form(tmp_path, spoken(), VERBOSE, *fields))

    found = asyncio.run(run())
    assert found["language"] == "french"
    assert [segment["temperature"] for segment in found["segments"]] == [0.5]


def test_silence_is_not_listened_to(folder: Path, tmp_path: Path) -> None:
    async def run() -> dict[str, Any]:
        async with opened(folder) as backend:
            return await verbose(backend, form(tmp_path, silence(600), VERBOSE))

    found = asyncio.run(run())
    assert (found["text"], found["duration"], found["segments"]) == ("", 600.0, [])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("language", "ie")], "language"),
        ([("include[]", "logprobs")], "include"),
        ([("chunking_strategy[type]", "client_vad")], "chunking_strategy"),
        ([("response_format", "diarized_json")], "response_format"),
    ],
)
def test_what_it_cannot_do_is_refused(fields: list[tuple[str, str]], param: str, folder: Path, tmp_path: Path) -> None:
    async def run() -> BadRequest:
        async with opened(folder) as backend:
            with pytest.raises(BadRequest) as error:
                await heard(backend, form(tmp_path, spoken(), *fields))
        return error.value

    assert asyncio.run(run()).param == param


def test_a_stream_brings_the_words(folder: Path, tmp_path: Path) -> None:
    async def run() -> list[dict[str, Any]]:
        async with opened(folder) as backend:
            body = await heard(backend, form(tmp_path, spoken(), ("stream", "true")))
        return [msgspec.json.decode(event.removeprefix(b"data: ")) for event in body.split(b"\n\n") if event]

    text = " ".join(TRANSCRIBED)
    assert asyncio.run(run()) == [
        {"type": "transcript.text.delta", "delta": text},
        {"type": "transcript.text.done", "text": text},
    ]


def test_models_share_the_memory_there_is(folder: Path, tmp_path: Path) -> None:
    """With room for one of two, the one that was used before goes when the other is asked."""

    async def run() -> list[str]:
        size = (folder / "model.bin").stat().st_size
        budget = MemoryBudget(420 * 1024 * 1024 + size)
        backend = WhisperBackend({"one": folder, "two": folder}, budget, threads=1)
        said = []
        try:
            for name in ("one", "two"):
                asked = form(tmp_path, spoken()).naming(name)
                said.append(msgspec.json.decode(await heard(backend, asked))["text"])
                assert len(backend.children()) == 1
        finally:
            await backend.close()
        return said

    assert asyncio.run(run()) == [" ".join(TRANSCRIBED)] * 2


def test_a_model_that_cannot_be_loaded_says_why(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        (broken / name).write_bytes((folder / name).read_bytes())
    (broken / "model.bin").write_bytes(b"nothing")

    async def run() -> ModelFailure:
        async with opened(broken) as backend:
            with pytest.raises(ModelFailure) as error:
                await heard(backend, form(tmp_path, spoken()))
        return error.value

    error = asyncio.run(run())
    assert error.status == 503
    assert "`whisper-tiny` cannot be loaded" in error.message


def test_a_folder_without_its_tokenizer_is_not_completed_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    partial.mkdir()
    for name in ("config.json", "model.bin", "vocabulary.json"):
        (partial / name).write_bytes((folder / name).read_bytes())

    async def run() -> ModelFailure:
        async with opened(partial) as backend:
            with pytest.raises(ModelFailure) as error:
                await heard(backend, form(tmp_path, spoken()))
        return error.value

    assert "tokenizer.json" in asyncio.run(run()).message


def test_over_http_it_is_an_entry_of_the_settings(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "everloom.toml"
    config.write_text(f'[[models]]\nid = "whisper-1"\nbackend = "local"\npath = "{folder}"\n', encoding="utf-8")
    with Everloom(tmp_path, arguments=("--config", str(config))) as server, client_of(server) as http:
        files = {"file": ("speech.wav", spoken())}
        said = http.post("/audio/transcriptions", data={"model": "whisper-1"}, files=files)
        assert said.json()["text"] == " ".join(TRANSCRIBED)
        data = {"model": "whisper-1", "response_format": "srt"}
        translated = http.post("/audio/translations", data=data, files=files)
        assert translated.text == f"1\n00:00:00,000 --> 00:00:03,000\n{' '.join(TRANSLATED)}\n\n"
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait() == 0
