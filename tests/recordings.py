"""Real speech, made by espeak-ng in a process of its own, in every kind of file that can be transcribed."""

import io
import subprocess
import sys
import wave
from functools import cache

import av

SENTENCE = "The weather is nice today. We will go to the house with seven people."
WORDS = {"weather", "is", "nice", "we", "will", "go", "the", "house", "with", "seven", "people"}
"""Those of its words that a recognizer of this size may be asked to understand, whatever compressed them."""

RATE = 22_050

_SPEAKER = """
import ctypes, sys, espeakng_loader
library = ctypes.CDLL(espeakng_loader.get_library_path())
assert library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0) == 22050
callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
@callback
def heard(samples, count, events):
    if samples and count > 0:
        sys.stdout.buffer.write(ctypes.string_at(samples, 2 * count))
    return 0
library.espeak_SetSynthCallback(heard)
assert library.espeak_SetVoiceByName(b"en-us+f2") == 0
library.espeak_SetParameter(1, 140, 0)
text = sys.argv[1].encode() + b"\\0"
assert library.espeak_Synth(text, len(text), 0, 0, 0, 1, None, None) == 0
library.espeak_Synchronize()
"""

FORMATS = {
    "flac": ("flac", "flac", 22_050),
    "mp3": ("mp3", "libmp3lame", 22_050),
    "mpga": ("mp2", "mp2", 44_100),
    "mpeg": ("mpeg", "mp2", 44_100),
    "m4a": ("mp4", "aac", 22_050),
    "mp4": ("mp4", "aac", 22_050),
    "ogg": ("ogg", "libopus", 48_000),
    "webm": ("webm", "libopus", 48_000),
}
"""Container, codec and samples a second by the end of a file's name; wav is what the speech is made in."""


@cache
def spoken(text: str = SENTENCE) -> bytes:
    """A WAV file in which a woman says this slowly."""
    done = subprocess.run([sys.executable, "-c", _SPEAKER, text], capture_output=True, check=True, timeout=60)
    return wav(done.stdout)


def wav(samples: bytes, rate: int = RATE, width: int = 2) -> bytes:
    """A WAV file of one channel."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(samples)
    return file.getvalue()


@cache
def encoded(kind: str, sound: bytes | None = None) -> bytes:
    """A WAV file (default: ``spoken()``) as another kind of file."""
    sound = sound or spoken()
    if kind == "wav":
        return sound
    container, codec, rate = FORMATS[kind]
    file = io.BytesIO()
    with av.open(io.BytesIO(sound)) as source, av.open(file, "w", format=container) as target:
        stream = target.add_stream(codec, rate=rate)
        stream.layout = "mono"  # type: ignore[union-attr]  # of a sound it has one
        form = stream.codec_context.format  # type: ignore[union-attr]
        resampler = av.AudioResampler(format=form.name if form else "s16", layout="mono", rate=rate)
        for frame in source.decode(audio=0):
            for piece in resampler.resample(frame):
                target.mux(stream.encode(piece))  # type: ignore[union-attr, arg-type]
        target.mux(stream.encode(None))  # type: ignore[union-attr]
    return file.getvalue()


def silence(seconds: int, rate: int = 16_000) -> bytes:
    """Nothing at all, as FLAC: an hour of it is half a megabyte."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as target:
        stream = target.add_stream("flac", rate=rate)
        stream.layout = "mono"  # type: ignore[union-attr]
        for _ in range(seconds):
            frame = av.AudioFrame(format="s16", layout="mono", samples=rate)
            frame.sample_rate = rate
            frame.planes[0].update(b"\0\0" * rate)
            target.mux(stream.encode(frame))  # type: ignore[union-attr]
        target.mux(stream.encode(None))  # type: ignore[union-attr]
    return file.getvalue()
