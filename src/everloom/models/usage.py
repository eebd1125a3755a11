"""What an answer cost, read from the numbers of whatever server gave it."""

import math
from typing import Any

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
