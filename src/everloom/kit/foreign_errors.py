"""Errors as other servers write them: one text out of the many forms that are about."""

from typing import Any

import msgspec

from everloom.kit.errors import NO_JSON
from everloom.kit.secrets import SECRETS

_TEXT_SHOWN = 500


def error_of(body: bytes) -> Any:
    """The part of an error body that tells the error; None where the body is no JSON object."""
    try:
        value = msgspec.json.decode(body)
    except NO_JSON:
        return None
    if not isinstance(value, dict):
        return None
    return value.get("error") or value


def text_of(error: Any) -> str | None:
    """The message, wherever servers put it: ``message``, ``detail``, another error inside, a bare string.

    None where nothing is said.
    """
    for _ in range(4):  # Gateways wrap what they were told, once or twice.
        if not isinstance(error, dict):
            break
        error = error.get("message") or error.get("detail") or error.get("error") or error
        if isinstance(error, dict) and not {"message", "detail", "error"} & error.keys():
            break
    if isinstance(error, str):
        return error.strip() or None
    return _shown(msgspec.json.encode(error).decode()) if error else None


def text_of_body(body: bytes, error: Any) -> str | None:
    """As ``text_of``; for a body that is no JSON its own text, unless it is a page."""
    if isinstance(error, dict | str):
        return text_of(error)
    text = " ".join(body.decode("utf-8", "replace").split())
    return _shown(text) if text and not text.startswith("<") else None


def _shown(text: str) -> str:
    """Its beginning, cut behind what is hidden in it: half a secret is not seen to be one."""
    return SECRETS.hide(text[: 2 * _TEXT_SHOWN])[:_TEXT_SHOWN]


def told_error(value: Any) -> str | None:
    """The text of an error that stands where an answer was to be; None for what is no error.

    Known forms: ``{"error": …}`` with an object or a text, ``{"object": "error", …}``, ``{"type": "error", …}``,
    and an object with ``message`` or ``detail`` and nothing of an answer.
    """
    if not isinstance(value, dict):
        return None
    if value.get("error"):
        return text_of(value["error"]) or "It did not say why."
    is_answer = isinstance(value.get("choices"), list)
    if value.get("object") == "error" or value.get("type") == "error" or (_TELLS & value.keys() and not is_answer):
        return text_of(value) or "It did not say why."
    return None


_TELLS = {"message", "detail"}
