"""Messages of a kernel: signed, and harmless when they are nonsense."""

import base64
import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloom.sandbox.base import Picture, Printed
from everloom.sandbox.wire import KernelMessage, execute, frames, from_frames, from_text, is_dense, output

KEY = b"key"
MOST = 1_000
VALUE = st.none() | st.text(max_size=5) | st.integers()
ODD = VALUE | st.lists(VALUE, max_size=3) | st.dictionaries(st.sampled_from(["image/png", "text/plain"]), VALUE)
PNG = b"\x89PNG\r\n\x1a\n and so on"


def shown(kind: str, **content: object) -> object:
    return output(KernelMessage(kind, "", json.dumps(content).encode()), MOST)


def test_a_message_comes_back_as_it_was_sent() -> None:
    message = execute("1 + 1")
    received = from_frames([b"topic", *frames(message, KEY)], KEY)
    assert received is not None
    assert received.kind == "execute_request"
    assert json.loads(received.content)["code"] == "1 + 1"
    assert received == from_text(json.dumps(message))


def test_a_message_that_somebody_else_signed_is_none() -> None:
    assert from_frames(frames(execute("1"), b"other"), KEY) is None
    good = frames(execute("1"), KEY)
    assert from_frames([*good[:-1], b"{}"], KEY) is None


@given(st.lists(st.binary(max_size=20), max_size=8), st.booleans())
def test_nonsense_is_no_message(received: list[bytes], marked: bool) -> None:
    assert from_frames([*([b"<IDS|MSG>"] if marked else []), *received], KEY) is None


@pytest.mark.parametrize(
    "text", ["", "1", "[]", "{}", '{"header": 1, "parent_header": {}, "content": {}}', "[" * 100_000]
)
def test_text_that_is_no_message(text: str) -> None:
    assert from_text(text) is None


def test_what_is_shown() -> None:
    assert shown("stream", name="stdout", text="a\0b\ud800") == Printed("a\ufffdb?")
    assert shown("error", traceback=["\x1b[0;31mValueError\x1b[0m: no"]) == Printed("ValueError: no\n")
    png = base64.b64encode(PNG).decode()
    assert shown("display_data", data={"image/png": png, "text/plain": "<Figure>"}) == Picture(PNG)
    assert shown("execute_result", data={"text/plain": "42"}) == Printed("42\n")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("stream", {"text": 1}),
        ("stream", {}),
        ("display_data", {"data": None}),
        ("display_data", {"data": {"image/png": 5}}),
        ("display_data", {"data": {"image/png": base64.b64encode(b"GIF89a").decode()}}),
        ("display_data", {"data": {"image/png": "no base64: ü"}}),
        ("status", {"execution_state": "busy"}),
        ("no such kind", {}),
    ],
)
def test_what_is_not_shown(kind: str, content: dict[str, object]) -> None:
    assert shown(kind, **content) is None


@given(
    st.sampled_from(["stream", "error", "display_data", "execute_result"]),
    st.fixed_dictionaries(dict.fromkeys(("text", "traceback", "data"), ODD)),
)
def test_no_content_is_too_odd(kind: str, content: dict[str, object]) -> None:
    found = output(KernelMessage(kind, "", json.dumps(content).encode()), MOST)
    assert found is None or isinstance(found, Printed)


@pytest.mark.parametrize("size", [10, 5_000, 5_000_000])
def test_of_a_text_no_more_is_read_than_is_shown(size: int) -> None:
    for sign in ("x", "\\", '"', "é", "😀", "\x01", "{},"):
        for name in ("stdout", None):
            content = {"name": name, "text": sign * (size // len(sign))} if name else {"text": sign * size}
            for ascii_only in (True, False):
                told = json.dumps(content, ensure_ascii=ascii_only).encode()
                assert output(KernelMessage("stream", "", told), MOST) == Printed(content["text"][:MOST])  # type: ignore[index]  # a string


BOMBS = {
    "objects": b'{"text":[' + b"{}," * 5_000_000 + b"{}]}",
    "nested": b'{"text":' + b"[" * 15_000_000,
    "strings": b'{"traceback":[' + b'"a",' * 3_500_000 + b'""]}',
    "keys": b'{"data":{' + b'"a":1,' * 2_500_000 + b'"image/png":1}}',
    "numbers": b'{"data":[' + b"1," * 7_000_000 + b"1]}",
    "wide": b'{"data":{"text/plain":"' + b"x" * 15_000_000 + "\U0001f600".encode() + b'"}}',
}


@pytest.mark.parametrize("kind", ["stream", "error", "display_data", "execute_result", "status"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_small_json_does_not_become_large(kind: str, bomb: str) -> None:
    message = KernelMessage(kind, "", BOMBS[bomb])
    tracemalloc.start()
    began = time.thread_time()
    if kind == "stream" or not is_dense(message.content):
        output(message, MOST)
    seconds = time.thread_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert seconds < 0.2
