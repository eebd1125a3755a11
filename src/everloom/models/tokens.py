"""How many tokens a request may cost where no tokenizer is at hand, and how many well-known models hold."""

from typing import Any

import msgspec

from everloom.objects.base import JsonObject

ASCII_CHARACTERS = 3
"""ASCII characters a token: English prose has about 4.5, code about 3.2, so three overestimates both."""

OTHER_BYTES = 2
"""UTF-8 bytes a token outside ASCII: half a token to one and a half a character, emoji two."""

MESSAGE_TOKENS = 4
REPLY_TOKENS = 3
"""What the chat format adds around each message and before the answer."""

IMAGE_TOKENS = 1445
SMALL_IMAGE_TOKENS = 85
"""The most an image costs at high detail (eight tiles), and what it costs at low detail."""

TOOL_TOKENS = 12

_WINDOWS = {
    "chatgpt-4o": 128_000,
    "gpt-3.5-turbo": 16_385,
    "gpt-3.5-turbo-0301": 4_096,
    "gpt-3.5-turbo-0613": 4_096,
    "gpt-3.5-turbo-instruct": 4_096,
    "gpt-4": 8_192,
    "gpt-4-0125": 128_000,
    "gpt-4-1106": 128_000,
    "gpt-4-32k": 32_768,
    "gpt-4-turbo": 128_000,
    "gpt-4-vision": 128_000,
    "gpt-4.1": 1_047_576,
    "gpt-4o": 128_000,
    "gpt-5": 400_000,
    "o1": 200_000,
    "o1-mini": 128_000,
    "o1-preview": 128_000,
    "o3": 200_000,
    "o4-mini": 200_000,
}
"""Context windows by the longest beginning of the name that fits (the platform's model pages)."""

_NAMES = sorted(_WINDOWS, key=len, reverse=True)


def known_window(model: str) -> int | None:
    """The context window of a well-known model; ``ft:gpt-4o:…`` has that of its base."""
    base = model.removeprefix("ft:").split("/")[-1]
    return next((_WINDOWS[name] for name in _NAMES if base.startswith(name)), None)


def estimate(body: JsonObject) -> int:
    """An upper estimate of a chat request's prompt tokens, for prose and code in any script.

    Random characters may cost more than it says. Never zero.
    """
    tokens = REPLY_TOKENS
    for message in body.get("messages") or ():
        tokens += MESSAGE_TOKENS + _content(message.get("content"))
        for field in ("name", "refusal", "tool_call_id"):
            tokens += _text(message.get(field) or "")
        for field in ("tool_calls", "function_call"):
            tokens += _json(message.get(field))
    for field in ("tools", "functions"):
        listed = body.get(field) or ()
        tokens += sum(TOOL_TOKENS + _json(tool) for tool in listed)
    return tokens + _json(body.get("response_format"))


def estimate_text(text: str) -> int:
    """An upper estimate of the tokens of a text."""
    return _text(text)


def estimate_input(given: Any) -> int:
    """An upper estimate of the tokens of what is to be moderated: a text, texts, or parts."""
    if isinstance(given, list):
        return sum(_part(each) if isinstance(each, dict) else _text(str(each)) for each in given)
    return _text(str(given or ""))


def _content(content: Any) -> int:
    if content is None or isinstance(content, str):
        return _text(content or "")
    return sum(_part(part) for part in content)


def _part(part: dict[str, Any]) -> int:
    if part.get("type") == "image_url":
        image = part.get("image_url")
        small = isinstance(image, dict) and image.get("detail") == "low"
        return SMALL_IMAGE_TOKENS if small else IMAGE_TOKENS
    return _text(part.get("text") or part.get("refusal") or "") + 1


def _json(value: Any) -> int:
    return 0 if not value else _text(msgspec.json.encode(value).decode())


def _text(text: str) -> int:
    if text.isascii():
        return -(-len(text) // ASCII_CHARACTERS)
    plain = len(text.encode("ascii", "ignore"))
    other = len(text.encode("utf-8", "replace")) - plain
    return -(-plain // ASCII_CHARACTERS) + -(-other // OTHER_BYTES)
