"""What an upstream's refusal means for our caller, and whether asking again may help."""

import random
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from everloom.kit.errors import ApiError, ModelAway, ModelFailure, NoSuchEndpoint
from everloom.kit.foreign_errors import error_of, text_of_body

ERROR_BYTES = 64 * 1024
"""How much of an error answer is read."""

FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 8.0
AWAY = frozenset({502, 503, 529})
"""What a server that is starting, overloaded or gone answers, or the proxy before it."""

LONGEST_ASKED_WAIT_SECONDS = 20.0
"""A server that asks for a longer pause than this gets none: its refusal goes to the caller at once."""

_ASKED_WAITS = ("retry-after", "retry-after-ms")
_PASSED_ON = re.compile(r"[ -~]{1,64}")
"""What a number or a date is made of: an upstream's header may hold anything, ours may not."""


def refusal(
    status: int, body: bytes, headers: Mapping[str, str], host: str, what: str = "chat completions"
) -> ApiError:
    """The error for an upstream's answer that is no 200; ``what`` it was asked for.

    What the caller did is told as the upstream told it. A key that the upstream refuses is the operator's affair, so
    it becomes a 502: a 401 would tell the caller that their own key is wrong.
    """
    error = error_of(body)
    text = text_of_body(body, error) or f"The upstream {host} answered {status} without saying why."
    if status in (401, 403):
        return ModelFailure(
            f"The upstream {host} refused this server's own key ({status}: {text}). Your key is fine; the operator "
            "of this server has to set another upstream key.",
            code="upstream_refused",
        )
    if status < 400 or (status in (404, 405) and error is None):
        return NoSuchEndpoint(
            f"The upstream {host} has no {what} at its base URL ({status}).", code="upstream_unreachable"
        )
    if status >= 500:
        shown = status if status in (503, 504) else 502
        failure = ModelAway if status in AWAY else ModelFailure
        return failure(f"The upstream {host} failed ({status}): {text}", status=shown, code="upstream_error")
    fields = error if isinstance(error, dict) else {}
    kind = "requests" if status == 429 else "invalid_request_error"
    code = "rate_limit_exceeded" if status == 429 else None
    return ApiError(
        status,
        text,
        type=_string(fields.get("type")) or kind,
        param=_string(fields.get("param")),
        code=_string(fields.get("code")) or code,
        headers={name: headers[name] for name in _ASKED_WAITS if _PASSED_ON.fullmatch(headers.get(name, ""))},
    )


def worth_retrying(status: int, error: ApiError) -> bool:
    """Whether the same request may fare better a moment later."""
    return status >= 500 or (status == 429 and error.code != "insufficient_quota")


def backoff(attempt: int, headers: Mapping[str, str]) -> float | None:
    """Seconds to wait before attempt ``attempt + 1``; None when the server asks for more than we wait.

    Exponential with jitter, so that callers that failed together do not come back together.
    """
    asked = asked_wait(headers)
    if asked is not None:
        return None if asked > LONGEST_ASKED_WAIT_SECONDS else asked
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """What ``retry-after-ms`` or ``retry-after`` (seconds or a date) asks for, in seconds."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (value := headers.get("retry-after")) is None:
            return None
        if value.replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):  # a date of no year that there is, for one
        return None


def _string(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)
