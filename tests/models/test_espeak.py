"""Speech by espeak-ng: the real engine in its real process, and every format decoded again."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy
import pytest

from everloom.kit.errors import BadRequest, ModelFailure
from everloom.models.speech.espeak import EspeakBackend, language_of
from everloom.models.speech.request import CONTENT_TYPES, VOICES
from tests.models.sounds import Sound, sound_of

TEXT = "The quick brown fox jumps over the lazy dog."
ENDLESS = "漢字" * 2048
"""Twenty minutes of "Chinese letter", fifty megabytes of pcm."""


@asynccontextmanager
async def espeak() -> AsyncIterator[EspeakBackend]:
    backend = EspeakBackend()
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def spoken(backend: EspeakBackend, text: str = TEXT, voice: Any = "alloy", **more: Any) -> bytes:
    """The whole sound; as pcm unless another format is asked for."""
    asked = {"model": "espeak-ng", "input": text, "voice": voice, "response_format": "pcm", **more}
    answer = await backend.speak(asked)
    try:
        return b"".join([block async for block in answer.blocks()])
    finally:
        await answer.close()


def run(work: Callable[[EspeakBackend], Awaitable[None]]) -> None:
    async def main() -> None:
        async with espeak() as backend:
            await work(backend)

    asyncio.run(main())


CODECS = {
    "mp3": ("mp3float", 24_000),
    "opus": ("opus", 48_000),  # decoders of opus have but the one rate
    "aac": ("aac", 24_000),
    "flac": ("flac", 24_000),
    "wav": ("pcm_s16le", 24_000),
    "pcm": ("pcm", 24_000),
}


def test_every_format_is_the_same_speech() -> None:
    async def work(backend: EspeakBackend) -> None:
        heard: dict[str, Sound] = {}
        for format, (codec, rate) in CODECS.items():
            sound = heard[format] = sound_of(await spoken(backend, response_format=format), format)
            assert (sound.codec, sound.rate, sound.channels) == (codec, rate, 1), format
            assert sound.loudness > 0.02, format
        assert 2 < heard["pcm"].seconds < 4
        for format, sound in heard.items():
            assert sound.seconds == pytest.approx(heard["pcm"].seconds, abs=0.1), format
            assert sound.loudness == pytest.approx(heard["pcm"].loudness, rel=0.15), format

    run(work)


@pytest.mark.parametrize("format", CODECS)
def test_speed_changes_the_length_alone(format: str) -> None:
    async def work(backend: EspeakBackend) -> None:
        plain = sound_of(await spoken(backend, response_format=format), format)
        for speed in (0.25, 0.5, 2, 4):
            sound = sound_of(await spoken(backend, response_format=format, speed=speed), format)
            assert sound.seconds == pytest.approx(plain.seconds / speed, rel=0.05, abs=0.1), speed
            assert sound.loudness > 0.02, speed

    run(work)


def test_the_platforms_voices_can_be_told_apart() -> None:
    """espeak-ng has dice in its voices: the same words sound a little different each time, another voice much more."""

    async def work(backend: EspeakBackend) -> None:
        voices = {voice: timbre(await spoken(backend, voice=voice)) for voice in VOICES}
        assert len(voices) == 13
        again = max([distance(voices[voice], timbre(await spoken(backend, voice=voice))) for voice in VOICES])
        others = min(distance(voices[one], voices[other]) for one in VOICES for other in VOICES if one < other)
        assert others > 1.5 * again

    run(work)


def timbre(pcm: bytes) -> Any:
    """How strong each of a hundred bands is, on average."""
    samples = numpy.frombuffer(pcm, "<i2").astype(numpy.float64)
    frames = samples[: len(samples) // 2400 * 2400].reshape(-1, 2400)
    spectrum = numpy.abs(numpy.fft.rfft(frames * numpy.hanning(2400)))[:, 5:405]
    return numpy.log(spectrum.reshape(len(frames), 100, 4).mean(axis=(0, 2)) + 1)


def distance(one: Any, other: Any) -> float:
    return float(numpy.sqrt(numpy.mean((one - other) ** 2)))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Привет, мир", "ru"),
        ("Γειά σου", "el"),
        ("שלום עולם", "he"),
        ("नमस्ते", "hi"),
        ("你好，世界", "cmn"),
        ("こんにちは世界", "ja"),
        ("漢字とかな交じり", "ja"),
        ("안녕하세요", "ko"),
        ("Hello, мир!", "en-us"),
        ("123 … 😀", "en-us"),
        ("ꦲꦏ꧀ꦱꦫ", "en-us"),
    ],
)
def test_a_script_tells_its_language(text: str, language: str) -> None:
    assert language_of(text) == language


def test_a_language_is_a_voice() -> None:
    async def work(backend: EspeakBackend) -> None:
        text = "Wie geht es Ihnen heute, mein lieber Freund?"
        german, again, female, nova, english = [
            timbre(await spoken(backend, text, voice)) for voice in ("de", "DE", "de+f2", "de+nova", "alloy")
        ]
        same = distance(german, again)
        assert min(distance(german, other) for other in (female, nova, english)) > 2 * same
        assert sound_of(await spoken(backend, "你好", "zh+alloy"), "pcm").loudness > 0.02

    run(work)


@pytest.mark.parametrize(
    "voice",
    [
        "",
        "Alloy ",
        "xx",
        "de+",
        "+f2",
        "de+../f2",
        "../../etc/passwd",
        "de+f2+f3",
        "de\0",
        "x" * 300,
        {"id": "voice_1"},
    ],
)
def test_other_voices_are_refused(voice: Any) -> None:
    async def work(backend: EspeakBackend) -> None:
        with pytest.raises(BadRequest) as refused:
            await spoken(backend, voice=voice)
        assert (refused.value.param, refused.value.code) == ("voice", "invalid_value")
        assert "Supported values are: 'alloy', 'ash', 'ballad'," in refused.value.message
        assert "and 'verse'." in refused.value.message
        assert len(refused.value.message) < 500

    run(work)


def test_instructions_are_refused() -> None:
    async def work(backend: EspeakBackend) -> None:
        with pytest.raises(BadRequest) as refused:
            await spoken(backend, instructions="Whisper.")
        assert (refused.value.param, refused.value.code) == ("instructions", "unsupported_parameter")
        assert await spoken(backend, instructions="") != b""

    run(work)


HOSTILE = [
    "<speak><audio src='/etc/passwd'/><break time='60s'/>hi</speak>",
    "\x01 90P\x01 20A\x01I/etc/passwd\x01 hi",
    "[[h@l'oU]] {{x}} &amp; &#1; <!-- -->",
    "A.B." * 1024,  # what follows has crashed the library
    "é." * 2048,
    "ß." * 2048,
    "ß.B.ß.B" * 585,
    "é.é. " * 800,
    "_-िह",
    "7" * 4096,
    "a" * 4096,
    "!" * 4096,
    "👩‍❤️‍💋‍👩" * 512,
    "\u202eabc\u200b\ufeff\u0301" * 500,
    "ﷺ" * 4096,
    "\ud83d lone",
    "שלום A.B.C. مرحبا 漢字 ไทย",
]


def test_hostile_texts_are_texts() -> None:
    async def work(backend: EspeakBackend) -> None:
        await spoken(backend)
        children = backend.children()
        for text in HOSTILE:
            for voice in ("alloy", "ja") if "." in text else ("ar",):
                sound = sound_of(await spoken(backend, text, voice), "pcm")
                assert 0.2 < sound.seconds < 1200, text[:40]
        assert backend.children() == children, "a text has ended the child"
        marked = sound_of(await spoken(backend, "<break time='60s'/> hi"), "pcm")
        assert marked.seconds < 10

    run(work)


def test_no_command_is_read_out_of_a_text() -> None:
    """Read as words it takes as long as its words; as a command to speak fast it would take no time at all."""

    async def work(backend: EspeakBackend) -> None:
        command, words = [
            sound_of(await spoken(backend, text), "pcm").seconds for text in ("\x01 400S hi", "  400S hi")
        ]
        assert command == pytest.approx(words, rel=0.02)

    run(work)


@pytest.mark.parametrize("format", CODECS)
@pytest.mark.parametrize("text", [" \n\t ", "…", "\x00\x01\x02"], ids=["blank", "dots", "controls"])
def test_nothing_to_say_is_a_moment_of_silence(format: str, text: str) -> None:
    async def work(backend: EspeakBackend) -> None:
        sound = sound_of(await spoken(backend, text, response_format=format), format)
        assert 0.2 < sound.seconds < 0.5
        assert sound.loudness < 0.001

    run(work)


def test_the_sound_comes_as_it_is_made() -> None:
    """Far more than anybody holds in memory, so what is heard first was sent before the last was made."""

    async def work(backend: EspeakBackend) -> None:
        answer = await backend.speak(
            {"model": "espeak-ng", "input": ENDLESS, "voice": "alloy", "response_format": "pcm"}
        )
        size, blocks = 0, 0
        async for block in answer.blocks():
            assert len(block) < 64 * 1024
            size, blocks = size + len(block), blocks + 1
        await answer.close()
        assert size > 40_000_000
        assert blocks > 1000

    run(work)


def test_who_leaves_stops_the_child() -> None:
    async def work(backend: EspeakBackend) -> None:
        await spoken(backend)
        children = backend.children()
        for _ in range(8):
            body = {"model": "espeak-ng", "input": ENDLESS, "voice": "alloy", "speed": 0.25, "response_format": "wav"}
            answer = await backend.speak(body)
            blocks = answer.blocks()
            assert (await anext(blocks))[:4] == b"RIFF"
            await answer.close()
        assert sound_of(await spoken(backend), "pcm").loudness > 0.02
        assert set(backend.children()) >= set(children)
        assert len(backend.children()) <= (os.cpu_count() or 1)

    run(work)


def test_who_waits_may_leave() -> None:
    async def work(backend: EspeakBackend) -> None:
        asked = [asyncio.create_task(spoken(backend, ENDLESS)) for _ in range(12)]
        await asyncio.sleep(0.3)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert sound_of(await spoken(backend), "pcm").loudness > 0.02

    run(work)


def test_a_child_that_dies_is_started_again() -> None:
    async def work(backend: EspeakBackend) -> None:
        await spoken(backend)
        kill_all(backend)
        assert sound_of(await spoken(backend), "pcm").loudness > 0.02
        answer = await backend.speak(
            {"model": "espeak-ng", "input": ENDLESS, "voice": "alloy", "response_format": "pcm"}
        )
        blocks = answer.blocks()
        await anext(blocks)
        kill_all(backend)
        with pytest.raises(ModelFailure, match="ended in the middle"):
            await read(blocks)
        await answer.close()
        assert sound_of(await spoken(backend), "pcm").loudness > 0.02

    run(work)


async def read(blocks: AsyncIterator[bytes]) -> int:
    return sum([len(block) async for block in blocks])


def kill_all(backend: EspeakBackend) -> None:
    for pid in backend.children():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_many_texts_take_turns() -> None:
    async def work(backend: EspeakBackend) -> None:
        texts = [TEXT * length for length in (1, 2, 3, 4)]
        alone = [sound_of(await spoken(backend, text), "pcm").seconds for text in texts]
        together = await asyncio.gather(*(spoken(backend, text) for text in texts * 6))
        assert [sound_of(sound, "pcm").seconds for sound in together] == pytest.approx(alone * 6, rel=0.01)

    run(work)


def test_events_carry_the_same_sound() -> None:
    async def work(backend: EspeakBackend) -> None:
        stream = await spoken(backend, stream_format="sse")
        events = [json.loads(line.removeprefix("data: ")) for line in stream.decode().split("\n\n") if line]
        *deltas, done = events
        assert {event["type"] for event in deltas} == {"speech.audio.delta"}
        sound = sound_of(b"".join(base64.b64decode(event["audio"]) for event in deltas), "pcm")
        assert sound.seconds == pytest.approx(sound_of(await spoken(backend), "pcm").seconds, rel=0.01)
        assert sound.loudness > 0.02
        nothing = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        assert done == {"type": "speech.audio.done", "usage": nothing}

    run(work)


def test_the_answer_says_what_it_is() -> None:
    async def work(backend: EspeakBackend) -> None:
        for format, media in CONTENT_TYPES.items():
            answer = await backend.speak(
                {"model": "espeak-ng", "input": "Hi", "voice": "alloy", "response_format": format}
            )
            assert (answer.content_type, answer.model) == (media, "espeak-ng")
            await answer.close()
        assert [model.id for model in await backend.models()] == ["espeak-ng"]
        assert set(backend.capabilities("espeak-ng")) == {"speak"}

    run(work)


def environment_of(pid: int) -> set[bytes]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {line.partition(b"=")[0] for line in lines if line}


def test_the_child_has_no_keys() -> None:
    async def work(backend: EspeakBackend) -> None:
        await spoken(backend)
        for pid in backend.children():
            assert environment_of(pid) <= {b"PYTHONPATH", b"PYTHONSAFEPATH", b"PYTHONUTF8", b"LC_CTYPE"}

    if not Path("/proc/self/environ").exists():
        pytest.skip("the system shows no environments")
    run(work)


def test_nothing_native_is_loaded_beside_the_server() -> None:
    program = (
        "import asyncio, sys, everloom.app\n"
        "from everloom.models.speech.espeak import EspeakBackend\n"
        "async def main():\n"
        "    backend = EspeakBackend()\n"
        "    answer = await backend.speak({'model': 'espeak-ng', 'input': 'Hi', 'voice': 'alloy'})\n"
        "    async for _ in answer.blocks(): pass\n"
        "    await answer.close()\n"
        "    await backend.close()\n"
        "asyncio.run(main())\n"
        "print(sorted({'av', 'espeakng_loader', 'piper', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
