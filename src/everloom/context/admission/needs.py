"""What a request will use, as well as can be told before a model is asked. All of it is settled by what it has used."""

from msgspec import Struct

from everloom.models.base import Form, FormFile
from everloom.models.completion_text import prompts_of
from everloom.models.tokens import bytes_a_second, estimate, estimate_content, estimate_input, estimate_text
from everloom.objects.base import JsonObject

SILENT = 0
"""Of a request that says nothing about how long its answer may be."""


class Need(Struct, frozen=True, gc=False):
    """``output_tokens``: as many as the request allows in all its ``answers``; ``SILENT`` where it sets no limit."""

    input_tokens: int = 0
    output_tokens: int = SILENT
    answers: int = 0
    images: int = 0
    audio_bytes: int = 0
    characters: int = 0
    milliseconds: int = 0


def of_chat(body: JsonObject) -> Need:
    """Of a chat completion."""
    answers = body.get("n") or 1
    most = body.get("max_completion_tokens") or body.get("max_tokens") or SILENT
    if most and (predicted := body.get("prediction")):  # What of it is not said is paid for as if it were.
        most += estimate_content(predicted.get("content"))
    return Need(estimate(body), most * answers, answers)


_USUAL_COMPLETION = 16
"""Tokens of a completion that says nothing (the reference's default)."""


def of_completion(body: JsonObject) -> Need:
    """Of a completion."""
    prompts = prompts_of(body)
    tokens = sum(len(prompt) if isinstance(prompt, list) else estimate_text(prompt or "") for prompt in prompts)
    tokens += estimate_text(body.get("suffix") or "")
    answers = max(body.get("n") or 1, body.get("best_of") or 1) * max(1, len(prompts))
    most = body.get("max_tokens")
    return Need(tokens, (_USUAL_COMPLETION if most is None else most) * answers, answers)


def of_embedding(body: JsonObject) -> Need:
    """Of embeddings: texts, or token ids."""
    given = body.get("input")
    if isinstance(given, list) and given and isinstance(given[0], int):
        return Need(len(given))
    if isinstance(given, list) and given and isinstance(given[0], list):
        return Need(sum(map(len, given)))
    return Need(estimate_input(given))


def of_moderation(body: JsonObject) -> Need:
    """Of a moderation."""
    return Need(estimate_input(body.get("input")))


def of_speech(body: JsonObject) -> Need:
    """Of speech, which is counted by what is to be said."""
    return Need(characters=len(body["input"]))


def of_transcription(form: Form) -> Need:
    """Of a transcription: how long the sound is, at the most."""
    milliseconds = sum(file.size * 1000 // bytes_a_second(_head(file)) for file in form.files)
    return Need(audio_bytes=sum(file.size for file in form.files), milliseconds=milliseconds)


def _head(file: FormFile) -> bytes:
    """As much of a file as tells what it is; nothing of one that is gone, which is told where it is sent."""
    try:
        with file.path.open("rb") as opened:
            return opened.read(64)
    except OSError:
        return b""


def of_images(number: int | str | None) -> Need:
    """Of images to be made, so many."""
    try:
        count = int(number or 1)
    except (TypeError, ValueError):
        count = 1
    return Need(images=max(1, count))
