"""Speech by a voice of piper's: the real engine and phonemes, with a voice that is a tone (no real one can be had)."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.memory_budget import MemoryBudget
from everloom.models.speech.piper import PiperBackend
from everloom.models.speech.pool import SpeakerPool
from tests.models import piperless
from tests.models.sounds import a_piper_voice, sound_of

TEXT = "Hello, world. This is a test!"


async def spoken(backend: PiperBackend, model: str = "tone", voice: str = "alloy", **more: Any) -> bytes:
    answer = await backend.speak({"model": model, "input": TEXT, "voice": voice, "response_format": "pcm", **more})
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


def run(voices: dict[str, Path], work: Callable[[PiperBackend], Awaitable[None]], limit: int = 1 << 30) -> None:
    async def main() -> None:
        budget = MemoryBudget(limit)
        backend = PiperBackend(voices, budget)
        await backend.open()
        try:
            await work(backend)
        finally:
            await budget.close()
            await backend.close()

    asyncio.run(main())


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    pytest.importorskip("piper", reason="piper is an extra")
    pytest.importorskip("onnx", reason="makes the voice")
    return a_piper_voice(tmp_path / "tone.onnx")


def test_a_voice_speaks_in_every_format(voice: Path) -> None:
    async def work(backend: PiperBackend) -> None:
        plain = sound_of(await spoken(backend), "pcm")
        assert 0.3 < plain.seconds < 3
        assert plain.loudness > 0.1
        for format in ("mp3", "opus", "aac", "flac", "wav"):
            sound = sound_of(await spoken(backend, response_format=format), format)
            assert sound.seconds == pytest.approx(plain.seconds, abs=0.1), format
        for speed in (0.5, 2):
            sound = sound_of(await spoken(backend, speed=speed), "pcm")
            assert sound.seconds == pytest.approx(plain.seconds / speed, rel=0.1), speed
        assert len(backend.children()) == 1

    run({"tone": voice}, work)


def test_one_speaker_is_all_of_the_platforms_voices(voice: Path) -> None:
    async def work(backend: PiperBackend) -> None:
        assert await spoken(backend, voice="nova") == await spoken(backend, voice="alloy")
        with pytest.raises(BadRequest, match="It has one speaker"):
            await spoken(backend, voice="p1")
        with pytest.raises(BadRequest, match="instructions"):
            await spoken(backend, instructions="Whisper.")

    run({"tone": voice}, work)


def test_speakers_go_by_their_names_too(voice: Path) -> None:
    several = a_piper_voice(voice.with_name("several.onnx"), speakers=3)

    async def work(backend: PiperBackend) -> None:
        own = [await spoken(backend, "several", f"p{number}") for number in range(3)]
        assert len(set(own)) == 3
        assert [await spoken(backend, "several", name) for name in ("alloy", "ash", "ballad", "coral")] == [
            *own,
            own[0],
        ]
        with pytest.raises(BadRequest, match="Its own speakers are 'p0', 'p1', 'p2'"):
            await spoken(backend, "several", "p3")

    run({"several": several}, work)


def test_text_in_brackets_is_text(voice: Path) -> None:
    async def work(backend: PiperBackend) -> None:
        for text in ("[[aaaaaaaaaaaaaaaaaaaa]]", "[" * 600, "x" * 4096, " ", "7" * 4000):
            assert sound_of(await spoken(backend, input=text), "pcm").seconds > 0.2, text[:20]

    run({"tone": voice}, work)


def test_who_leaves_stops_the_voice(voice: Path) -> None:
    async def work(backend: PiperBackend) -> None:
        await spoken(backend)
        [child] = backend.children()
        answer = await backend.speak({"model": "tone", "input": "Hello there. " * 300, "voice": "alloy"})
        await answer.close()
        assert sound_of(await spoken(backend), "pcm").loudness > 0.1
        assert backend.children() == [child]

    run({"tone": voice}, work)


def test_a_voice_goes_when_another_needs_its_memory(voice: Path) -> None:
    other = a_piper_voice(voice.with_name("other.onnx"))

    async def work(backend: PiperBackend) -> None:
        for name in ("tone", "other", "tone"):
            assert sound_of(await spoken(backend, name), "pcm").loudness > 0.1
            assert len(backend.children()) == 1

    run({"tone": voice, "other": other}, work, limit=150 << 20)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"phoneme_type": "japanese"}, "japanese phonemes are not supported"), ({"audio": {}}, "sample_rate")],
)
def test_a_voice_that_cannot_be_used_says_why(voice: Path, settings: dict[str, Any], reason: str) -> None:
    broken = a_piper_voice(voice.with_name("broken.onnx"), **settings)

    async def work(backend: PiperBackend) -> None:
        with pytest.raises(ModelFailure, match=reason) as failed:
            await spoken(backend, "broken")
        assert failed.value.status == 503

    run({"broken": broken}, work)


def test_a_file_that_is_no_voice_says_so(voice: Path) -> None:
    voice.write_bytes(b"no network at all")

    async def work(backend: PiperBackend) -> None:
        with pytest.raises(ModelFailure, match="cannot be loaded"):
            await spoken(backend)

    run({"tone": voice}, work)


def test_a_missing_package_is_named() -> None:
    async def main() -> None:
        install = "pip install 'everloom[piper]'"
        speakers = SpeakerPool("The voice `tone`", str(Path(piperless.__file__)), most=1, install=install)
        try:
            with pytest.raises(ModelFailure, match="needs the package piper") as failed:
                await speakers.known()
            assert install in failed.value.message
            assert failed.value.status == 503
        finally:
            await speakers.close()

    asyncio.run(main())
