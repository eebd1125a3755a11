"""Speech to text: ``POST /audio/transcriptions`` and ``POST /audio/translations`` (of the Audio tag).

The file is laid on disk while it arrives and goes to the model from there; the answer comes back in the media type that
the model's server gave it.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from everloom.api.http.proxying import frames
from everloom.api.http.routes import EventStream, Reply, Request, Routes
from everloom.api.http.spool import read_form
from everloom.context import Context
from everloom.context.answers import TranscriptionAnswer
from everloom.kit.audio_kinds import NAMES, AudioKind, audio_kind
from everloom.kit.errors import BadRequest
from everloom.models.base import Form
from everloom.requests.transcriptions import NewTranscription, NewTranslation, check
from everloom.requests.validation import unknown

routes = Routes(permission="model")

FILE_BYTES = 25 * 1024 * 1024

_REFERENCE_BYTES = 3 * 1024 * 1024
"""Ten seconds of a speaker's voice as a data URL, in the largest of the formats."""


@routes.post("/audio/transcriptions")
async def create_transcription(ctx: Context, call: Request) -> Reply | EventStream:
    """createTranscription. A client that goes away stops the model."""
    texts = {"known_speaker_references": _REFERENCE_BYTES}
    body, form = await read_form(call, NewTranscription, {"file": FILE_BYTES}, required="file", texts=texts)
    check(body)
    await _check_file(form)
    return await _answer(call, _transcribed(ctx, body.model, form))


@routes.post("/audio/translations")
async def create_translation(ctx: Context, call: Request) -> Reply | EventStream:
    """createTranslation: as createTranscription, into English."""
    body, form = await read_form(call, NewTranslation, {"file": FILE_BYTES}, required="file")
    await _check_file(form)
    return await _answer(call, _transcribed(ctx, body.model, form, translate=True))


async def _answer(call: Request, asked: Coroutine[Any, Any, Reply | TranscriptionAnswer]) -> Reply | EventStream:
    answer = await call.unless_gone(asked)
    if isinstance(answer, Reply):
        return answer
    return EventStream(frames(answer), answer.close)


async def _transcribed(ctx: Context, name: str, form: Form, *, translate: bool = False) -> Reply | TranscriptionAnswer:
    """The answer, all of it where it is no stream."""
    async with ctx.ask("transcribe", name) as model:
        answer = await model.transcribe(form, translate=translate)
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
