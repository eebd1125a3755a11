"""What models are asked and what it costs, told to the metrics. Numbers in answers are read, never made up."""

import json
import re

import msgspec
from prometheus_client import Counter

from everloom.kit.errors import NO_JSON, ApiError, ModelFailure
from everloom.kit.secrets import SECRETS
from everloom.objects.tools import Usage

_REQUESTS = Counter("everloom_model_requests", "Requests to models", ["model", "outcome"])
_TOKENS = Counter("everloom_model_tokens", "Tokens read (prompt) and written (completion)", ["direction", "model"])
_IMAGES = Counter("everloom_model_images", "Images made", ["model"])
_CHARACTERS = Counter("everloom_model_characters", "Characters spoken", ["model"])
_HEARD = Counter("everloom_model_audio_seconds", "Seconds of audio transcribed or translated", ["model"])

_MOST_BELIEVED = 1_000_000_000
"""Tokens of one answer."""

_MODELS_COUNTED = 200
"""An upstream may serve any name that a caller makes up: behind so many the metrics say ``other``."""

_LONGEST_COUNTED = 128

_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class EstimatedUsage(Usage, kw_only=True):
    """Tokens that nobody counted: the prompt's from its characters, the answer's from the events of its stream."""


def asked(model: str, outcome: str) -> None:
    """Count a request by how it came out: completed, closed (by the caller), refused or failed."""
    _REQUESTS.labels(_counted(model, served=outcome in ("completed", "closed")), outcome).inc()


def refused(model: str, error: ApiError) -> None:
    """Count a request that was not answered: by whose fault it was."""
    asked(model, "failed" if error.status >= 500 else "refused")


def usage_at_end(tail: bytes) -> Usage | None:
    """The last usage in the end of an answer, streamed or not; None where there is none.

    The text of an answer cannot be taken for it: inside JSON strings every quotation mark is escaped.
    """
    found = list(_USAGE.finditer(tail))
    if not found:
        return None
    try:
        value, _ = _decode_first(tail[found[-1].end() - 1 :].decode("utf-8", "replace"))
        return msgspec.convert(value, Usage)
    except (ValueError, *NO_JSON):
        return None


def count_tokens(model: str, usage: Usage) -> None:
    """Add what a call cost to the metrics."""
    name = _counted(model)
    _TOKENS.labels("prompt", name).inc(_believed(usage.prompt_tokens))
    _TOKENS.labels("completion", name).inc(_believed(usage.completion_tokens))


def count_images(model: str, count: int) -> None:
    """Add the images of an answer to the metrics."""
    _IMAGES.labels(_counted(model)).inc(count)


def count_characters(model: str, count: int) -> None:
    """Add the characters of a text that a model speaks to the metrics."""
    _CHARACTERS.labels(_counted(model)).inc(count)


def count_audio(model: str, seconds: float) -> None:
    """Add the length of the audio that a model has heard to the metrics."""
    _HEARD.labels(_counted(model)).inc(seconds)


def failed_midway(model: str, error: bytes) -> ModelFailure:
    """The failure of a model whose stream tells of an error."""
    said = SECRETS.hide(error[:1000].decode("utf-8", "replace"))[:500]
    return ModelFailure(f"The model {model} failed in the middle of its answer: {said}", code="upstream_error")


def unreadable(model: str) -> ModelFailure:
    """The failure of a model that answers with no JSON, or with other JSON than the reference's."""
    return ModelFailure(f"The model {model} answered with something that is no JSON.", code="upstream_broken")


def _believed(number: int) -> int:
    """A server's own number, as far as a counter can take it."""
    return min(max(number, 0), _MOST_BELIEVED)


_decode_first = json.JSONDecoder().raw_decode

_names: set[str] = set()


def _counted(model: str, *, served: bool = True) -> str:
    """The model's label. A name that nobody has answered for yet is none: it may be a caller's invention."""
    if model in _names:
        return model
    if served and len(_names) < _MODELS_COUNTED and len(model) <= _LONGEST_COUNTED:
        _names.add(model)
        return model
    return "other"
