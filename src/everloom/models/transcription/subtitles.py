"""A transcript, and how it is written in each ``response_format`` of the reference."""

import math
import zlib
from collections.abc import Collection, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

Format = Literal["json", "text", "srt", "verbose_json", "vtt"]

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Word(Struct, kw_only=True):
    """TranscriptionWord: times in seconds."""

    word: str
    start: float
    end: float


class Segment(Struct, kw_only=True):
    """What was said between two pauses. Times in seconds; the text begins with a blank, as a model's token does.

    ``seek``: where the recognizer's window began, in hundredths of a second. ``no_speech_prob``: 0 where the
    recognizer does not tell.
    """

    start: float
    end: float
    text: str
    words: list[Word] = []
    seek: int = 0
    tokens: list[int] = []
    temperature: float = 0.0
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0


class Transcript(Struct, kw_only=True):
    """All that was said in ``seconds`` of audio. ``language`` is its English name in lower case."""

    task: Literal["transcribe", "translate"]
    language: str
    seconds: float
    segments: Sequence[Segment]

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()


def written(transcript: Transcript, format: Format, granularities: Collection[str] = ()) -> tuple[bytes, str]:
    """The transcript in this format, and its media type. ``granularities`` (of verbose_json): word, segment."""
    match format:
        case "json":
            return _json({"text": transcript.text, "usage": _usage(transcript)})
        case "verbose_json":
            return _json(_verbose(transcript, granularities or ("segment",)))
        case "text":
            return f"{transcript.text}\n".encode(), TEXT
        case "srt":
            cues = enumerate(transcript.segments, 1)
            blocks = [f"{number}\n{_span(segment, ',')}\n{_cue(segment)}\n\n" for number, segment in cues]
            return "".join(blocks).encode(), TEXT
        case "vtt":
            blocks = [f"{_span(segment, '.')}\n{_cue(segment)}\n\n" for segment in transcript.segments]
            return "".join(["WEBVTT\n\n", *blocks]).encode(), TEXT


def _json(value: dict[str, Any]) -> tuple[bytes, str]:
    return msgspec.json.encode(value), JSON


def _usage(transcript: Transcript) -> dict[str, Any]:
    """What newer clients read: whole seconds, as they are billed."""
    return {"type": "duration", "seconds": math.ceil(transcript.seconds)}


def _verbose(transcript: Transcript, granularities: Collection[str]) -> dict[str, Any]:
    """The duration is a number, as the platform sends it; the document of 2024 says a string, and was corrected."""
    answer: dict[str, Any] = {
        "task": transcript.task,
        "language": transcript.language,
        "duration": round(transcript.seconds, 3),
        "text": transcript.text,
    }
    if "word" in granularities:
        answer["words"] = [word for segment in transcript.segments for word in segment.words]
    if "segment" in granularities:
        answer["segments"] = [_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    return {**answer, "usage": _usage(transcript)}


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    text = segment.text.encode()
    return {
        "id": number,
        "seek": segment.seek,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": segment.tokens,
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": len(text) / len(zlib.compress(text)),
        "no_speech_prob": segment.no_speech_prob,
    }


def _span(segment: Segment, point: str) -> str:
    return f"{_clock(segment.start, point)} --> {_clock(segment.end, point)}"


def _clock(seconds: float, point: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}{point}{milliseconds:03}"


def _cue(segment: Segment) -> str:
    """The text of a cue, in which neither an empty line nor an arrow may stand."""
    return " ".join(segment.text.split()).replace("-->", "->")
