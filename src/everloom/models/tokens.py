"""How many tokens a request may cost where no tokenizer is at hand, and how many well-known models hold."""

import base64
import binascii
import struct
from collections.abc import Callable
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

SOUND_TOKENS_A_SECOND = 10
"""What the platform's chat models take for sound that they hear: a token for each tenth of a second."""

PACKED_SOUND = 1000
"""Bytes a second of sound at the least: eight kilobits a second is speech at its most packed."""

PLAIN_SOUND = 8000, 192_000
"""The same of PCM in a WAV file: a byte for each of 8000 samples a second; and no more than two times 48 000 of two
bytes, whatever its head says.
"""

MOST_OF_SOUND, MOST_OF_A_FILE = 2**17, 2**20
"""Tokens of one part of a message: so much the models hold at the most that hear, or read files."""

_MOST = 2**40

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
    """An upper estimate of a chat request's prompt tokens, for prose and code in any script, pictures, sound and files.

    Random characters may cost more than it says, and files whose text is packed. Never zero, and no more than 2**40.
    """
    tokens = REPLY_TOKENS
    for message in body.get("messages") or ():
        tokens += MESSAGE_TOKENS + _content(message.get("content"))
        for name, value in message.items():
            if name not in _COUNTED and value:
                tokens += _text(value) if isinstance(value, str) else _json(value)
    for field in ("tools", "functions"):
        listed = body.get(field) or ()
        tokens += sum(TOOL_TOKENS + _json(tool) for tool in listed)
    return min(tokens + _json(body.get("response_format")), _MOST)


_COUNTED = frozenset({"role", "content"})
"""Of a message, what is counted by itself."""


def estimate_text(text: str) -> int:
    """An upper estimate of the tokens of a text."""
    return min(_text(text), _MOST)


def estimate_content(content: Any) -> int:
    """An upper estimate of the tokens of a message's content: None, a text, or parts."""
    return min(_content(content), _MOST)


def estimate_input(given: Any) -> int:
    """An upper estimate of the tokens of what is to be moderated: a text, texts, or parts."""
    if isinstance(given, list):
        tokens = sum(_part(each) if isinstance(each, dict) else _text(str(each)) for each in given)
    else:
        tokens = _text(str(given or ""))
    return min(tokens, _MOST)


def _content(content: Any) -> int:
    if content is None or isinstance(content, str):
        return _text(content or "")
    return sum(_part(part) for part in content)


def _part(part: dict[str, Any]) -> int:
    match part.get("type"):
        case "text" | "refusal":
            return _text(part.get("text") or part.get("refusal") or "") + 1
        case "image_url":
            image = part.get("image_url")
            small = isinstance(image, dict) and image.get("detail") == "low"
            return SMALL_IMAGE_TOKENS if small else IMAGE_TOKENS
        case "input_audio":
            return _payload(part, "input_audio", "data", _sound, MOST_OF_SOUND)
        case "file":
            return _payload(part, "file", "file_data", _file, MOST_OF_A_FILE)
    return min(_json(part), MOST_OF_A_FILE)


def _payload(part: dict[str, Any], member: str, name: str, count: Callable[[str], int], most: int) -> int:
    """Of a part that brings base64 under a name in a member of it: what that counts, and what is said beside it."""
    told = part.get(member)
    if not isinstance(told, dict) or not isinstance(data := told.get(name), str):
        return min(_json(part), most)
    beside = {other: value for other, value in told.items() if other != name}
    return min(count(data) + _json(beside) + 1, most)


def _file(data: str) -> int:
    """What a file would cost if its bytes were text."""
    return -(-_decoded(data) // ASCII_CHARACTERS)


def _sound(data: str) -> int:
    """What sound costs by its length: its bytes tell of it, and the head of a WAV file, as decoders read it."""
    return -(-_decoded(data) * SOUND_TOKENS_A_SECOND // _bytes_a_second(data))


def _bytes_a_second(data: str) -> int:
    start = data.find(",", 0, 128) + 1  # Behind ``data:audio/wav;base64,``, which some servers take.
    try:
        return bytes_a_second(base64.b64decode(data[start : start + 48]))
    except (binascii.Error, ValueError):
        return PACKED_SOUND


def bytes_a_second(head: bytes) -> int:
    """How many bytes a second of sound takes at the least, by the first 36 bytes of its file."""
    try:
        riff, wave, tag, channels, rate, bits = struct.unpack_from("<4s4x8s4xHHI6xH", head)
    except struct.error:
        return PACKED_SOUND
    if riff != b"RIFF" or wave != b"WAVEfmt " or tag not in _PLAIN:
        return PACKED_SOUND
    least, most = PLAIN_SOUND
    return int(min(max(channels * rate * bits // 8, least), most))


_PLAIN = (1, 3)
"""WAV's numbers of PCM: whole numbers, and floating ones."""


def _decoded(data: str) -> int:
    """The bytes of base64, at the most."""
    return len(data) * 3 // 4


def _json(value: Any) -> int:
    return 0 if not value else _text(msgspec.json.encode(value).decode())


def _text(text: str) -> int:
    if text.isascii():
        return -(-len(text) // ASCII_CHARACTERS)
    plain = len(text.encode("ascii", "ignore"))
    other = len(text.encode("utf-8", "replace")) - plain
    return -(-plain // ASCII_CHARACTERS) + -(-other // OTHER_BYTES)
