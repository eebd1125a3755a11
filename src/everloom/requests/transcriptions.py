"""Transcriptions and translations: what a form may say beside its file (CreateTranscriptionRequest,
CreateTranslationRequest).
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from everloom.kit.errors import BadRequest
from everloom.objects.languages import LANGUAGES
from everloom.requests.validation import unsupported_value

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


def check(body: NewTranscription) -> None:
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
