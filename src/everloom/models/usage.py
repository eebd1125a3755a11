"""What an answer cost, read from the numbers of whatever server gave it."""

import math
from typing import Any

from msgspec import Struct

from everloom.objects.tools import Usage

MOST_BELIEVED = 1_000_000_000
"""Tokens of one answer."""


def usage_of(told: Any) -> Usage | None:
    """The usage that a server tells: under the reference's names or Anthropic's, as decimals or as text, without a sum.

    What stands in the sum alone was written: some servers (Gemini, Grok) leave what a model thinks out of its answer's
    tokens, and want it paid like them. None where it tells nothing that is a number.
    """
    if not isinstance(told, dict):
        return None
    if (usage := _as_the_reference(told)) is not None:
        return usage
    read = _first(told, "prompt_tokens", "input_tokens")
    written = _first(told, "completion_tokens", "output_tokens")
    total = _first(told, "total_tokens")
    if read is None and written is None and total is None:
        return None
    if read is not None and _first(told, "prompt_tokens") is None:  # Anthropic's, which does not count these among it.
        read += _first(told, "cache_read_input_tokens") or 0
        read += _first(told, "cache_creation_input_tokens") or 0
    rest = max(0, (total or 0) - (read or 0) - (written or 0))
    if read is None:
        read = rest
    else:
        written = (written or 0) + rest
    read, written = min(read, MOST_BELIEVED), min(written or 0, MOST_BELIEVED)
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def _as_the_reference(told: dict[str, Any]) -> Usage | None:
    """The usage where it is told as the reference has it and adds up, as it mostly is."""
    read, written, total = told.get("prompt_tokens"), told.get("completion_tokens"), told.get("total_tokens")
    if type(read) is not int or type(written) is not int or type(total) is not int:
        return None
    if read < 0 or written < 0 or not read + written == total <= MOST_BELIEVED:
        return None
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=total)


class TokenDetails(Struct, frozen=True, kw_only=True):
    """Which of an answer's tokens were read from a cache, heard, spoken or only thought; they are among those of its
    usage.
    """

    cached: int = 0
    heard: int = 0
    spoken: int = 0
    thought: int = 0


_READ = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_WRITTEN = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_DETAILS = frozenset({*_READ, *_WRITTEN, "cache_read_input_tokens"})


def details_of(told: Any) -> TokenDetails | None:
    """What a server tells of the tokens of a usage, as far as there are so many; None where it tells nothing."""
    if not isinstance(told, dict) or _DETAILS.isdisjoint(told) or (usage := usage_of(told)) is None:
        return None
    read, written = _inner(told, *_READ), _inner(told, *_WRITTEN)
    cached = _first(read, "cached_tokens") or _first(told, "cache_read_input_tokens") or 0
    cached = min(cached, usage.prompt_tokens)
    heard = min(_first(read, "audio_tokens") or 0, usage.prompt_tokens)
    spoken = min(_first(written, "audio_tokens") or 0, usage.completion_tokens)
    thought = min(_first(written, "reasoning_tokens") or 0, usage.completion_tokens)
    if not (cached or heard or spoken or thought):
        return None
    return TokenDetails(cached=cached, heard=heard, spoken=spoken, thought=thought)


def _inner(told: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((inner for name in names if isinstance(inner := told.get(name), dict)), {})


def _first(told: dict[str, Any], *names: str) -> int | None:
    return next((number for name in names if (number := _whole(told.get(name))) is not None), None)


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            value = float(value[:32])
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return int(min(max(value, 0), MOST_BELIEVED))
