"""What a request may cost is told before it is asked, also where most of it is no text."""

import base64
import struct
from typing import Any

import pytest

from everloom.context.admission import needs
from everloom.models.tokens import MOST_OF_A_FILE, MOST_OF_SOUND, estimate, estimate_input

TEXT = {"type": "text", "text": "What is this?"}


def estimated(*parts: dict[str, Any]) -> int:
    return estimate({"messages": [{"role": "user", "content": [TEXT, *parts]}]})


def sound(data: bytes, before: str = "") -> dict[str, Any]:
    written = before + base64.b64encode(data).decode()
    return {"type": "input_audio", "input_audio": {"data": written, "format": "wav"}}


def wav(seconds: float, rate: int = 24_000, *, tag: int = 1, said: int | None = None) -> bytes:
    """A WAV file of 16 bits; ``said`` is the rate that its head tells."""
    data = bytes(int(seconds * rate) * 2)
    said = rate if said is None else said
    form = struct.pack("<IHHIIHH", 16, tag, 1, said, 0, 2, 16)
    return b"RIFF\0\0\0\0WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data


def a_file(data: bytes) -> dict[str, Any]:
    url = "data:application/pdf;base64," + base64.b64encode(data).decode()
    return {"type": "file", "file": {"filename": "a.pdf", "file_data": url}}


@pytest.mark.parametrize("before", ["", "data:audio/wav;base64,"])
def test_plain_sound_costs_by_its_length(before: str) -> None:
    heard = estimated(sound(wav(60), before)) - estimated()
    assert 600 <= heard <= 660


def test_packed_sound_costs_what_it_may_hold_at_the_most() -> None:
    packed = b"\xff\xf3" + bytes(29_998)
    assert estimated(sound(packed)) - estimated() >= 300  # Half a minute at eight kilobits.
    assert estimated(sound(wav(60, 8_000, tag=0x55))) >= 9_000  # Packed, in the form of a WAV file.


@pytest.mark.parametrize("said", [2**32 - 1, 0])
def test_a_head_that_lies_does_not_make_sound_free_or_boundless(said: int) -> None:
    heard = estimated(sound(wav(60, said=said))) - estimated()
    assert 60 * 48_000 * 10 // 192_000 <= heard <= 60 * 48_000 * 10 // 8_000 + 20


@pytest.mark.parametrize("data", ["", "RIFF", "%%%", "é" * 100, "A" * 47, "=" * 60, ","])
def test_what_is_no_sound_is_counted_all_the_same(data: str) -> None:
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}}
    assert 0 < estimated(part) - estimated() < 50


def test_a_file_costs_what_its_bytes_would_as_text() -> None:
    assert 10_000 <= estimated(a_file(b"x" * 30_000)) - estimated() <= 10_100


def test_no_part_costs_more_than_a_model_can_hold() -> None:
    assert estimated(sound(bytes(20_000_000))) - estimated() <= MOST_OF_SOUND
    assert estimated(a_file(bytes(4_000_000))) - estimated() <= MOST_OF_A_FILE
    assert estimated({"type": "video", "video": "A" * 4_000_000}) - estimated() <= MOST_OF_A_FILE


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video", "video": {"data": "A" * 30_000}},
        {"type": "input_audio", "input_audio": {"samples": "A" * 30_000}},
        {"type": "file", "file": {"file_data": ["A" * 30_000]}},
        {"type": "file", "file": {"filename": "A" * 30_000, "file_data": ""}},
        {"type": "input_audio", "input_audio": "A" * 30_000},
    ],
)
def test_a_payload_is_counted_wherever_it_stands(part: dict[str, Any]) -> None:
    assert estimated(part) - estimated() >= 10_000


def test_a_picture_costs_the_same_however_long_its_url_is() -> None:
    short, long = ({"type": "image_url", "image_url": {"url": "data:," + "A" * size}} for size in (1, 10**6))
    assert estimated(short) == estimated(long)
    assert estimate_input([short]) == estimate_input([long])


def test_what_a_message_says_beside_its_content_is_counted() -> None:
    message = {"role": "assistant", "content": None}
    plain = estimate({"messages": [message]})
    for more in ({"reasoning_content": "word " * 600}, {"audio": {"id": "a" * 3000}}, {"name": "a" * 3000}):
        assert estimate({"messages": [message | more]}) - plain >= 1000


def test_what_a_request_foresees_of_an_answer_is_paid_for_as_an_answer() -> None:
    body: dict[str, Any] = {"messages": [], "max_tokens": 10}
    foreseen = body | {"prediction": {"type": "content", "content": "word " * 600}}
    assert needs.of_chat(foreseen).output_tokens >= 1010
    assert needs.of_chat(body).output_tokens == 10


def test_what_stands_behind_a_completion_is_read_too() -> None:
    body = {"prompt": "a", "suffix": "word " * 600}
    assert needs.of_completion(body).input_tokens >= 1000
