"""Audio files to samples, by PyAV (FFmpeg). Imported by child processes only: what is in a file may be made to take its
reader down.

The file's kind is told by its content and FFmpeg is given that one demuxer, so that a playlist named ``a.mp3`` opens no
other file and no connection. What comes out is bounded, whatever a header promises.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import av.error

from everloom.kit.audio_kinds import AudioKind, audio_kind

RATE = 16_000
"""Samples a second of what comes out: what recognizers of speech are trained on."""

LONGEST_S = 2 * 3600
SHORTEST_S = 0.1
DECODING_S = 120
"""Seconds of the clock that decoding may take; an hour of MP3 takes about ten."""

_DEMUXERS: dict[AudioKind, str] = {
    "flac": "flac",
    "mp3": "mp3",
    "mp4": "mp4",
    "mpeg": "mpeg",
    "ogg": "ogg",
    "wav": "wav",
    "webm": "matroska",
}
_RATES = range(1_000, 768_001)
"""What a sound may be sampled at: at one sample a second a small file lasts for years."""

UNDECODABLE = "The audio file could not be decoded or its format is not supported."
TOO_SHORT = f"Audio file is too short. Minimum audio length is {SHORTEST_S} seconds."
TOO_LONG = f"The audio is longer than {LONGEST_S} seconds, which is the maximum for this model."
TOO_SLOW = f"The audio file takes more than {DECODING_S} seconds to decode."


class Refused(Exception):
    """A request that cannot be met; the caller's 400."""

    def __init__(self, message: str, code: str = "invalid_value", param: str = "file") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


def samples(path: Path, go_on: Callable[[], None] = lambda: None) -> bytearray:
    """The file's first audio track as 16-bit samples, one channel, ``RATE`` a second.

    A file that breaks off gives what is there. ``go_on`` is called again and again and may raise to end it. Errors:
    ``Refused``.
    """
    with path.open("rb") as file:
        kind = audio_kind(file)
    if kind is None:
        raise Refused(UNDECODABLE)
    until = time.monotonic() + DECODING_S
    found = bytearray()
    with closing(_decoded(path, kind)) as blocks:
        for block in blocks:
            found += block
            if len(found) > 2 * RATE * LONGEST_S:
                raise Refused(TOO_LONG)
            if time.monotonic() > until:
                raise Refused(TOO_SLOW)
            go_on()
    if not found:
        raise Refused(UNDECODABLE)
    if len(found) < 2 * RATE * SHORTEST_S:
        raise Refused(TOO_SHORT, "audio_too_short")
    return found


def _decoded(path: Path, kind: AudioKind) -> Generator[bytes]:
    """The samples, block by block, up to the first thing that cannot be read. Errors: ``Refused``.

    Whatever the library raises is the file's fault, and whose class it has depends on what a header claims: a codec
    that FFmpeg does not know is an attribute that is missing, a layout of channels that has no name a ``ValueError``.
    """
    try:
        with av.open(
            f"file:{path}",
            format=_DEMUXERS[kind],
            options={"protocol_whitelist": "file"},
            metadata_errors="ignore",
        ) as container:
            yield from _resampled(_frames(container))
    except (Refused, MemoryError):
        raise
    except Exception:
        return


def _frames(container: Any) -> Iterator[Any]:
    """The frames of the first audio track. Packets that cannot be decoded are passed over, as players do."""
    if not container.streams.audio:
        raise Refused(UNDECODABLE)
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise Refused(UNDECODABLE)  # a codec that FFmpeg has no decoder for
    stream.codec_context.thread_count = 1
    seconds = 0.0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            if frame.sample_rate not in _RATES:
                raise Refused(UNDECODABLE)
            seconds += frame.samples / frame.sample_rate
            if seconds > LONGEST_S:  # before it is resampled: one frame may last for hours
                raise Refused(TOO_LONG)
            yield frame


def _resampled(frames: Iterator[Any]) -> Iterator[bytes]:
    resampler: Any = None
    shape: Any = None
    for frame in frames:
        found = frame.format.name, frame.layout.name, frame.sample_rate
        if found != shape:  # also in the middle of a file, which MP3s that were put together do
            if resampler is not None:
                yield from map(_bytes, resampler.resample(None))
            resampler, shape = av.AudioResampler(format="s16", layout="mono", rate=RATE), found
        frame.pts = None
        yield from map(_bytes, resampler.resample(frame))
    if resampler is not None:
        yield from map(_bytes, resampler.resample(None))


def _bytes(frame: Any) -> bytes:
    return bytes(frame.planes[0])[: 2 * frame.samples]
