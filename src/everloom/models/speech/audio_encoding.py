"""Speech into the formats of createSpeech, as it is made.

Runs in the child processes alone: FFmpeg's libraries (PyAV) are native code, and their import costs a quarter of a
second and 30 MB.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
from av import AudioFrame, AudioStream
from av.filter import Graph

RATE = 24_000
"""Samples a second of what goes out, as from the platform: one channel, and 16 bits where there are bits."""

_SLOWEST_STEP = 0.5
"""What one ``atempo`` can slow down to; more takes several."""


class _Codec(NamedTuple):
    container: str
    codec: str
    samples: str
    bits_a_second: int | None
    options: dict[str, str]


_CODECS = {
    # Nothing can be written into the head once the sound is known: the head has gone out by then.
    "mp3": _Codec("mp3", "libmp3lame", "s16p", 64_000, {"write_xing": "0", "id3v2_version": "0"}),
    # A page is what a player gets at once: a tenth of a second (the default is a whole one).
    "opus": _Codec("ogg", "libopus", "s16", 32_000, {"page_duration": "100000"}),
    "aac": _Codec("adts", "aac", "fltp", 64_000, {}),
    "flac": _Codec("flac", "flac", "s16", None, {}),
}


class Encoder:
    """Takes 16-bit samples of one channel at ``rate`` a second, gives back the bytes of ``format``.

    ``speed`` (0.25 to 4) changes how long the sound lasts, not how high it is.
    """

    def __init__(self, format: str, rate: int, speed: float) -> None:
        codec = _CODECS.get(format)
        self._out = _Out()
        self._stream: AudioStream | None = None
        self._graph = _graph(rate, speed, codec.samples if codec else "s16")
        self._rate = rate
        self._position = 0
        if codec is not None:
            options = codec.options | {"flush_packets": "1"}
            self._container = av.open(self._out, "w", format=codec.container, options=options)
            stream = self._container.add_stream(codec.codec, rate=RATE)
            assert isinstance(stream, AudioStream)
            self._stream = stream
            context = stream.codec_context
            context.layout, context.format = "mono", codec.samples
            if codec.bits_a_second:
                context.bit_rate = codec.bits_a_second
            context.open()
            if context.frame_size:
                self._graph.set_audio_frame_size(context.frame_size)
        elif format == "wav":
            self._out.write(_wav_head())

    def feed(self, samples: bytes) -> bytes:
        """The bytes that these samples complete."""
        if samples:
            self._graph.push(_frame(samples, self._rate, self._position))
            self._position += len(samples) // 2
            self._encode(self._pulled())
        return self._out.take()

    def end(self) -> bytes:
        """The rest. Nothing may be fed after it."""
        self._graph.push(None)
        self._encode(self._pulled())
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        return self._out.take()

    def _pulled(self) -> Iterator[AudioFrame]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, AudioFrame)
            yield frame

    def _encode(self, frames: Iterator[AudioFrame]) -> None:
        for frame in frames:
            if self._stream is None:
                self._out.write(bytes(frame.planes[0])[: 2 * frame.samples])
            else:
                self._container.mux(self._stream.encode(frame))


class _Out:
    """A file that cannot be gone back in, as a network connection cannot."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: Any) -> int:
        self._bytes += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


def _graph(rate: int, speed: float, samples: str) -> Graph:
    graph = Graph()
    nodes = [graph.add_abuffer(sample_rate=rate, format="s16", layout="mono", time_base=Fraction(1, rate))]
    while speed < _SLOWEST_STEP:
        nodes.append(graph.add("atempo", str(_SLOWEST_STEP)))
        speed /= _SLOWEST_STEP
    if speed != 1:
        nodes.append(graph.add("atempo", f"{speed:.6f}"))
    nodes.append(graph.add("aresample", str(RATE)))
    nodes.append(graph.add("aformat", f"sample_fmts={samples}:sample_rates={RATE}:channel_layouts=mono"))
    nodes.append(graph.add("abuffersink"))
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def _frame(samples: bytes, rate: int, position: int) -> AudioFrame:
    frame = AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
    frame.sample_rate = rate
    frame.time_base = Fraction(1, rate)
    frame.pts = position
    frame.planes[0].update(samples.ljust(frame.planes[0].buffer_size, b"\0"))
    return frame


def _wav_head() -> bytes:
    """The head of a file whose length nobody knows yet: readers then take all that follows."""
    unknown = 0xFFFFFFFF
    form = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return b"RIFF" + struct.pack("<I", unknown) + b"WAVEfmt " + form + b"data" + struct.pack("<I", unknown)
