"""What a form of createTranscription asks of a model on this machine, and what is said between it and its process."""

from typing import Any, Literal, cast

import msgspec
from msgspec import Struct

from everloom.kit.errors import BadRequest
from everloom.models.base import Form
from everloom.models.transcription.subtitles import Format, Segment


class Pauses(Struct, frozen=True, kw_only=True):
    """VadConfig of the reference: how speech is told from what is none. Times in milliseconds."""

    type: Literal["server_vad"]
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 200
    threshold: float = 0.5


class TranscriptionJob(Struct, frozen=True, kw_only=True):
    """One file for a child process. ``language``: two letters; None to find out."""

    path: str
    translate: bool = False
    language: str | None = None
    prompt: str = ""
    temperature: float = 0.0
    keywords: tuple[str, ...] = ()
    pauses: Pauses | None = None
    words: bool = False
    """Whether the time of each word is wanted, where it costs more."""


class Said(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a child process says; one of these at a time. ``refused``: message, code and param of a 400."""

    ready: bool = False
    error: str = ""
    seconds: float | None = None
    language: str = ""
    segment: Segment | None = None
    done: bool = False
    refused: tuple[str, str, str] | None = None
    failed: str = ""
    stopped: bool = False


class TranscriptionRequest(Struct, frozen=True, kw_only=True):
    """A request as a model on this machine sees it: the file's job, and how the answer is to look."""

    job: TranscriptionJob
    format: Format
    granularities: frozenset[str]
    stream: bool


def read_wish(form: Form, *, translate: bool) -> TranscriptionRequest:
    """The request of a form that has been checked. What no model on this machine can do is refused, never dropped."""
    for name in ("languages", "known_speaker_names", "known_speaker_references", "include"):
        if any(form.all(name)):
            raise unsupported(name)
    said = {name.removesuffix("[]"): value for name, value in form.fields}  # of several the last one counts
    format, stream = said.get("response_format") or "json", said.get("stream") in ("true", "True", "1")
    if format == "diarized_json" or (stream and format not in ("json", "text")):
        what = "does not support" if format == "diarized_json" else "with 'stream' does not support"
        text = f"Unsupported value: 'response_format' {what} '{format}' with this model."
        raise BadRequest(text, param="response_format", code="unsupported_value")
    file = form.file("file")
    assert file is not None
    granularities = frozenset(form.all("timestamp_granularities"))
    job = TranscriptionJob(
        path=str(file.path),
        translate=translate,
        language=said.get("language") or None,
        prompt=said.get("prompt", "").strip(),
        temperature=float(said.get("temperature") or 0),
        keywords=tuple(filter(None, form.all("keywords"))),
        pauses=_pauses(form),
        words="word" in granularities,
    )
    return TranscriptionRequest(job=job, format=cast(Format, format), granularities=granularities, stream=stream)


def unsupported(name: str) -> BadRequest:
    """The refusal of a parameter that a model has no use for."""
    text = f"Unsupported parameter: '{name}' is not supported with this model."
    return BadRequest(text, param=name, code="unsupported_parameter")


def _pauses(form: Form) -> Pauses | None:
    """``chunking_strategy``: None for ``auto``, which is what happens anyway; else its members, however they came."""
    raw: dict[str, Any] | None = None
    for name, value in form.fields:
        if name == "chunking_strategy" and value.startswith("{"):
            raw = {**(raw or {}), **_decoded(value)}
        elif name.startswith("chunking_strategy["):
            raw = raw or {}
            raw[name[len("chunking_strategy[") :].rstrip("]")] = value
    if raw is None:
        return None
    try:
        return msgspec.convert(raw, Pauses, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid 'chunking_strategy': {error}.", param="chunking_strategy") from error


def _decoded(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise BadRequest(f"Invalid 'chunking_strategy': {error}.", param="chunking_strategy") from error
