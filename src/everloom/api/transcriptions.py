"""Speech to text: ``POST /audio/transcriptions`` and ``POST /audio/translations`` (of the Audio tag).

The file is laid on disk while it arrives and goes to the model from there; the answer comes back in the media type that
the model's server gave it.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from everloom.api.http.proxying import frames
from everloom.api.http.routes import EventStream, Reply, Request, Routes
from everloom.api.http.spool import read_form
from everloom.api.http.validation import unknown, unsupported_value
from everloom.context import Context
from everloom.kit.audio_kinds import NAMES, AudioKind, audio_kind
from everloom.kit.errors import BadRequest
from everloom.models.base import Form
from everloom.objects.languages import LANGUAGES
from everloom.work.inference.transcriptions import Transcription, transcribe

routes = Routes()

FILE_BYTES = 25 * 1024 * 1024

_REFERENCE_BYTES = 3 * 1024 * 1024
"""Ten seconds of a speaker's voice as a data URL, in the largest of the formats."""

Temperature = Annotated[float, Meta(ge=0, le=1)] | None
Speakers = Annotated[list[str], Meta(max_length=4)]


class NewTranscription(Struct, kw_only=True, forbid_unknown_fields=True):
    """CreateTranscriptionRequest of December 2024 without its file, and behind it what later SDKs send."""

    model: str
    language: str | None = None
    prompt: str | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] | None = None
    temperature: Temperature = None
    timestamp_granularities: list[Literal["word", "segment"]] = []
    stream: bool | None = None
    include: list[Literal["logprobs"]] = []
    chunking_strategy: str | None = None
    languages: list[str] = []
    keywords: list[str] = []
    known_speaker_names: Speakers = []
    known_speaker_references: Speakers = []


class NewTranslation(Struct, kw_only=True, forbid_unknown_fields=True):
    """CreateTranslationRequest without its file."""

    model: str
    prompt: str | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] | None = None
    temperature: Temperature = None


@routes.post("/audio/transcriptions")
async def create_transcription(ctx: Context, call: Request) -> Reply | EventStream:
    """createTranscription. A client that goes away stops the model."""
    texts = {"known_speaker_references": _REFERENCE_BYTES}
    body, form = await read_form(call, NewTranscription, {"file": FILE_BYTES}, required="file", texts=texts)
    _check(body)
    await _check_file(form)
    return await _answer(call, transcribe(ctx, body.model, form))


@routes.post("/audio/translations")
async def create_translation(ctx: Context, call: Request) -> Reply | EventStream:
    """createTranslation: as createTranscription, into English."""
    body, form = await read_form(call, NewTranslation, {"file": FILE_BYTES}, required="file")
    await _check_file(form)
    return await _answer(call, transcribe(ctx, body.model, form, translate=True))


async def _answer(call: Request, asked: Coroutine[Any, Any, Transcription]) -> Reply | EventStream:
    answer = await call.unless_gone(_begun(asked))
    if isinstance(answer, Reply):
        return answer
    return EventStream(frames(answer), answer.close)


async def _begun(asked: Coroutine[Any, Any, Transcription]) -> Reply | Transcription:
    """The answer, all of it where it is no stream."""
    answer = await asked
    if answer.streams:
        return answer
    try:
        return Reply(await answer.whole(), _with_charset(answer.content_type))
    finally:
        await answer.close()


def _with_charset(content_type: str) -> str:
    """Some clients take a text without a charset for Latin-1."""
    bare = content_type.startswith("text/") and "charset" not in content_type
    return f"{content_type}; charset=utf-8" if bare else content_type


def _check(body: NewTranscription) -> None:
    """What a schema does not say, in the platform's words."""
    if body.timestamp_granularities and body.response_format != "verbose_json":
        raise BadRequest(
            "Invalid value for 'timestamp_granularities': 'timestamp_granularities' is only allowed when "
            "'response_format' is 'verbose_json'.",
            param="timestamp_granularities",
            code="invalid_value",
        )
    for name, codes in (("language", [body.language]), ("languages", body.languages)):
        for code in filter(None, codes):
            if code not in LANGUAGES:
                text = f"Invalid language '{code[:64]}'. Language parameter must be specified in ISO-639-1 format."
                raise BadRequest(text, param=name, code="invalid_language_format")
    strategy = body.chunking_strategy
    if strategy is not None and strategy != "auto" and not strategy.startswith("{"):
        raise unsupported_value("chunking_strategy", strategy, ["auto"])


async def _check_file(form: Form) -> None:
    """One file, and of a kind that holds sound: by its first bytes, whatever it is called."""
    first, *more = form.files
    if first.field != "file":
        raise unknown(first.field)
    if more:
        raise BadRequest("Invalid 'file': too many files. Expected one file.", param="file", code="invalid_value")
    if await asyncio.to_thread(_kind, first.path) is None:
        raise BadRequest(
            f"Invalid file format. Supported formats: {list(NAMES)}", param="file", code="invalid_file_format"
        )


def _kind(path: Path) -> AudioKind | None:
    with path.open("rb") as file:
        return audio_kind(file)
