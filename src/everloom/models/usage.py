"""What an answer cost, read from the numbers of whatever server gave it."""

import math
from typing import Any

from msgspec import Struct

from everloom.objects.tools import Usage

MOST_BELIEVED = 1_000_000_000
"""Tokens of one answer."""


def usage_of(told: Any) -> Usage | None:
    """The usage that a server tells: under the reference's names or Anthropic's, as decimals or as text, without a sum.

    None where it tells nothing that is a number.
    """
    if not isinstance(told, dict):
        return None
    read = _first(told, "prompt_tokens", "input_tokens")
    written = _first(told, "completion_tokens", "output_tokens")
    total = _first(told, "total_tokens")
    if read is None and written is None and total is None:
        return None
    read, written = read or 0, written or 0
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=max(total or 0, read + written))


class TokenDetails(Struct, frozen=True, kw_only=True):
    """Which of an answer's tokens were read from a cache, heard or spoken; they are among those of its usage."""

    cached: int = 0
    heard: int = 0
    spoken: int = 0


def details_of(told: Any) -> TokenDetails | None:
    """What a server tells of the tokens of a usage; None where it tells nothing."""
    if not isinstance(told, dict):
        return None
    read = _inner(told, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    written = _inner(told, "completion_tokens_details", "output_tokens_details", "output_token_details")
    cached = _first(read, "cached_tokens") or _first(told, "cache_read_input_tokens") or 0
    heard, spoken = _first(read, "audio_tokens") or 0, _first(written, "audio_tokens") or 0
    if not (cached or heard or spoken):
        return None
    return TokenDetails(cached=cached, heard=heard, spoken=spoken)


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
