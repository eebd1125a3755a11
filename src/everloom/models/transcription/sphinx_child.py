"""The child process that transcribes English with pocketsphinx and the model in its package.

``python -m everloom.models.transcription.sphinx_child``; what passes over its pipes stands in ``child.py``.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

from everloom.models.transcription.audio_decoding import RATE
from everloom.models.transcription.child import GoOn, serve
from everloom.models.transcription.request import TranscriptionJob
from everloom.models.transcription.subtitles import Segment, Word

MEMORY = 2 << 30
"""Bytes of addresses: two hours of samples are 230 MB, the model 100."""

_UTTERANCE_S = 20.0
"""Where somebody talks without a pause, a cut is made: what the decoder holds grows with the utterance."""

_PATHS = 10_000
"""What the decoder follows at once at most: speech needs less, noise would take all there is."""

_PAUSE_S = 0.4
"""A gap between words that begins another segment."""

_FRAMES_A_SECOND = 100

_SILENCE = bytes(2 * RATE * 3 // 10)

_VARIANT = re.compile(r"\(\d+\)$")
_NO_WORD = re.compile(r"<.*>|\[.*\]|\+\+.*\+\+")
"""Silence, breath and noise, which stand among the words."""


class Sphinx:
    """pocketsphinx, loaded (0.3 s, 100 MB)."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder: Any = Decoder(samprate=RATE, maxhmmpf=_PATHS, loglevel="FATAL")
        self._means = self._decoder.get_cmn(False)

    def hear(self, pcm: bytearray, job: TranscriptionJob, go_on: GoOn) -> tuple[str, Iterator[Segment]]:
        """The segments between pauses, English whatever was said."""
        self._forget()
        return "en", self._segments(pcm, go_on)

    def _forget(self) -> None:
        """Forget how the last speaker sounded: the same file is to give the same words.

        The densities that were likeliest in the last frames are tried first in the next ones, and only some others
        after them; silence leaves the same ones behind whatever came before it.
        """
        self._words(_SILENCE, 0.0)
        self._decoder.reinit_feat()
        self._decoder.set_cmn(self._means)

    def _segments(self, pcm: bytearray, go_on: GoOn) -> Iterator[Segment]:
        for start, speech in _utterances(pcm):
            go_on()
            yield from _between_pauses(self._words(speech, start))

    def _words(self, speech: bytes, start: float) -> list[tuple[Word, float]]:
        """The words of an utterance, each with the logarithm of its probability."""
        self._decoder.start_utt()
        try:
            # At once, so that loudness and microphone are evened out over the whole of it: piece by piece, the first
            # words suffer.
            self._decoder.process_raw(speech, full_utt=True)
        finally:
            self._decoder.end_utt()
        words = []
        for found in self._decoder.seg() or ():
            if _NO_WORD.fullmatch(found.word):
                continue
            begin = round(start + found.start_frame / _FRAMES_A_SECOND, 2)
            end = round(start + (found.end_frame + 1) / _FRAMES_A_SECOND, 2)
            word = Word(word=_VARIANT.sub("", found.word), start=begin, end=end)
            words.append((word, math.log(min(1.0, max(found.prob, 1e-10)))))
        return words


def _utterances(pcm: bytearray) -> Iterator[tuple[float, bytes]]:
    """What sounds like speech, and when it begins. Silence costs two microseconds a frame and nothing more."""
    from pocketsphinx import Endpointer

    endpointer = Endpointer(sample_rate=RATE)
    size = endpointer.frame_bytes
    speech, start, second = bytearray(), 0.0, 2 * RATE
    for offset in range(0, len(pcm), size):
        frame = bytes(pcm[offset : offset + size])
        heard = endpointer.end_stream(frame) if len(frame) < size else endpointer.process(frame)
        if heard is not None:
            if not speech:
                # Where the last cut was made, or where the endpointer says that it began.
                start = start or endpointer.speech_start
            speech += heard
        if speech and (not endpointer.in_speech or len(speech) >= _UTTERANCE_S * second):
            yield start, bytes(speech)
            start = start + len(speech) / second if endpointer.in_speech else 0.0
            speech.clear()
    if speech:
        yield start, bytes(speech)


def _between_pauses(words: list[tuple[Word, float]]) -> Iterator[Segment]:
    lot: list[tuple[Word, float]] = []
    for word, probability in words:
        if lot and word.start - lot[-1][0].end >= _PAUSE_S:
            yield _segment(lot)
            lot = []
        lot.append((word, probability))
    if lot:
        yield _segment(lot)


def _segment(lot: list[tuple[Word, float]]) -> Segment:
    words = [word for word, _ in lot]
    return Segment(
        start=words[0].start,
        end=words[-1].end,
        text=" " + " ".join(word.word for word in words),
        words=words,
        seek=round(words[0].start * _FRAMES_A_SECOND),
        avg_logprob=sum(probability for _, probability in lot) / len(lot),
    )


if __name__ == "__main__":
    serve(Sphinx, MEMORY)
