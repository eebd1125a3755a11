"""Kernels that say far too much, or what no kernel says: the server keeps its memory and its time."""

import asyncio
import contextlib
import gc
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from everloom.sandbox.base import Printed, SandboxDied, SandboxLimits
from tests.bubblewrap import Bench, bench

LIMITS = SandboxLimits(logs=2_000, grace=1, idle_cpu=10)
MB = 1 << 20

SEND = """
import json, hmac, hashlib, time
def send(kind, content, parent=None, buffers=(), metadata=b'{}'):
    kernel = get_ipython().kernel
    header = json.dumps({'msg_type': kind, 'msg_id': 'forged', 'session': 'forged'}).encode()
    parent = parent if parent is not None else json.dumps(kernel.get_parent()['header'], default=str).encode()
    parts = (header, parent, metadata, content)
    signature = hmac.new(kernel.session.key, b''.join(parts), hashlib.sha256).hexdigest().encode()
    kernel.iopub_socket.send_multipart([b'<IDS|MSG>', signature, *parts, *buffers])
"""

ENDLESS = """
import os, socket, struct
part = b'\\x03' + struct.pack('>Q', 8 << 20) + bytes(8 << 20)  # ZMTP: a long frame, and more follow
for f in map(int, os.listdir('/proc/self/fd')):
    try:
        s = socket.socket(fileno=os.dup(f)); s.getpeername()
    except OSError: continue
    if 'socket-2' in str(s.getsockname()):
        s.setblocking(True)
        for _ in range(300): s.sendall(part)
"""


LEFT = """
import threading
parent = json.dumps(get_ipython().kernel.get_parent()['header'], default=str).encode()
def go():
    time.sleep(0.5)
    while True: send('stream', b'{"text":"' + b'x' * 100_000 + b'"}', parent)
threading.Thread(target=go, daemon=True).start()
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("data"), LIMITS) as found:
        found.logs("1")
        yield found


@contextlib.contextmanager
def memory(most: int = 64 * MB) -> Iterator[None]:
    """Assert that this process, which is the server here, never has so many bytes more than it had."""
    page = os.sysconf("SC_PAGE_SIZE")
    resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * page  # noqa: E731 - two lines' worth
    before, peak, over = resident(), 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not over.wait(0.005):
            peak = max(peak, resident())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert peak - before < most, f"{(peak - before) >> 20} MB more"


def stalls(box: Bench, code: str, key: str) -> tuple[str, float]:
    """What the code shows, or how it died; and the longest time in which nobody else had a turn."""

    async def running() -> tuple[str, float]:
        longest = 0.0
        gc.freeze()  # What other tests have left in this process is not to be looked through meanwhile.

        async def beat() -> None:
            nonlocal longest
            while True:
                since = time.thread_time()
                await asyncio.sleep(0.005)
                longest = max(longest, time.thread_time() - since)

        beating = asyncio.create_task(beat())
        try:
            async with box.sandboxes.session(key) as session:
                shown = [one async for one in session.run(code, 60)]
            return "".join(one.text for one in shown if isinstance(one, Printed)), longest
        except SandboxDied as died:
            return str(died), longest
        finally:
            beating.cancel()
            gc.unfreeze()

    return box.do(running())


def test_a_message_of_parts_without_an_end(box: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with memory(), caplog.at_level(logging.WARNING):
        told, _ = stalls(box, ENDLESS, "endless")
    assert "wrote far too much" in told
    assert "a sandbox is ended: The code wrote far too much" in caplog.text or "[The code was stopped" in told
    assert box.logs("'next'", "endless").endswith("'next'\n")


def test_small_json_that_would_become_large(box: Bench) -> None:
    bomb = """
for text in (b'{"text":[' + b'{},' * 5_000_000 + b'{}]}', b'{"text":' + b'[' * 15_000_000,
             b'{"traceback":[' + b'"a",' * 3_500_000 + b'""]}', b'{"data":{"image/png":' + b'{"a":' * 2_000_000,
             b'{"data":{"text/plain":"' + b'x' * 15_000_000 + '\\U0001f600'.encode() + b'"}}'):
    for kind in ('stream', 'error', 'display_data'): send(kind, text)
    time.sleep(0.3)
"""
    box.run(SEND, "json")
    with memory():
        told, longest = stalls(box, bomb, "json")
    assert longest < 0.3
    assert "wrote far too much" in told
    assert box.logs("'next'", "json").endswith("'next'\n")


@pytest.mark.parametrize(
    "flood",
    [
        'for n in range(10**6): send(\'comm_msg\', b\'{"comm_id":"1","data":{}}\')',
        'for n in range(10**6): send(\'stream\', b\'{"name":"stdout","text":"x"}\')',
        "for n in range(10**6): send('display_data', b'{}', metadata=b'{\"a\":\"' + bytes(100_000) + b'\"}')",
        # Told backwards: an interrupt's traceback quotes the code.
        'text = b\'{"text":"%s"}\' % b"ngierof"[::-1]\n'
        "for n in range(10**6): send('stream', text, parent=b'{\"msg_id\":\"another\"}')",
        "for n in range(10**6): send('stream', b'{}', buffers=[b''] * 100)",
        "for n in range(10**6): send('execute_reply', b'{}', parent=b'{\"msg_id\":\"another\"}')",
        "for n in range(10**6): send('input_request', b'{\"prompt\":\"name?\"}')",
    ],
    ids=["comm", "tiny", "metadata", "foreign", "parts", "replies", "questions"],
)
def test_a_flood_of_messages_is_stopped(tmp_path: Path, flood: str) -> None:
    with bench(tmp_path, SandboxLimits(sent=4 * MB, grace=1, take_up=5, logs=2_000)) as box:
        box.run(SEND + "x = 1")
        with memory():
            told, longest = stalls(box, flood, "one")
        assert "wrote far too much" in told
        assert "foreign" not in told
        assert longest < 0.3
        assert box.logs("'next'").endswith("'next'\n")


def test_a_flood_between_two_calls_ends_the_sandbox(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with bench(tmp_path, SandboxLimits(sent=4 * MB)) as box:
        box.run(SEND)
        box.run(LEFT)
        with memory(), caplog.at_level(logging.WARNING):
            box.do(asyncio.sleep(4))
        assert "a sandbox is ended: What an earlier call left running wrote far too much." in caplog.text
        assert "What an earlier call left running wrote far too much." in box.logs("1")


def test_a_sandbox_has_a_bound_over_all_its_calls(tmp_path: Path) -> None:
    with bench(tmp_path, SandboxLimits(sent_ever=4 * MB)) as box:
        shout = "for n in range(10): print('x' * 100_000, flush=True)"
        assert "logs end here" not in box.logs("1")
        for _ in range(3):
            box.run(shout)
        with pytest.raises(SandboxDied, match="over all its calls"):
            box.run(f"while True:\n    {shout}")
        assert box.logs("'next'").endswith("'next'\n")


@pytest.mark.parametrize("size", [1_000_000, 17_000_000])
def test_an_error_with_a_text_far_too_long_ends_its_call(box: Bench, size: int) -> None:
    box.run("kept = 1", "error")
    began = time.monotonic()
    with memory(most=96 * MB):
        told = box.logs(f"raise ValueError('x' * {size})", "error", timeout=100)
    assert time.monotonic() - began < 60, "it waited for the end of its time"
    ends = ["logs end here"] if size < 5_000_000 else ["Some output was lost", "wrote far too much"]
    assert any(end in told for end in ends)
    assert box.logs("kept", "error") == "1\n"


def test_an_error_of_some_megabytes_is_told_by_its_name(box: Bench) -> None:
    told = box.logs("raise ValueError('x' * 5_000_000)", "error")
    assert told.startswith("ValueError: xxxx")
    assert "logs end here" in told


def test_a_slow_reader_holds_up_neither_memory_nor_the_end(tmp_path: Path) -> None:
    with bench(tmp_path, SandboxLimits(grace=1)) as box:

        async def running() -> str:
            text = ""
            async with box.sandboxes.session("one") as session:
                async for shown in session.run("for n in range(3_000): print(n, flush=True)", 60):
                    assert isinstance(shown, Printed)
                    text += shown.text
                    await asyncio.sleep(0.02)
            return text

        began = time.monotonic()
        with memory():
            assert box.do(running()) == "".join(f"{n}\n" for n in range(3_000))
        assert time.monotonic() - began < 50


def test_a_reader_that_pauses_misses_nothing(tmp_path: Path) -> None:
    """More than the kernel's queue, the sockets and our own room hold together."""
    with bench(tmp_path, SandboxLimits(logs=20_000_000)) as box:

        async def running() -> str:
            text = ""
            async with box.sandboxes.session("one") as session:
                async for shown in session.run("for n in range(8_000): print(str(n) * 400, flush=True)", 60):
                    assert isinstance(shown, Printed)
                    if not text:
                        await asyncio.sleep(4)
                    text += shown.text
            return text

        assert box.do(running()) == "".join(f"{str(n) * 400}\n" for n in range(8_000))


def test_standard_error_written_past_the_kernel_costs_the_server_little(box: Bench) -> None:
    write = """
import os, sys, time
end = time.monotonic() + 3
for number in map(int, os.listdir('/proc/self/fd')):
    if number > 2:
        try:
            if not os.readlink(f'/proc/self/fd/{number}').startswith('pipe:'): continue
            os.set_blocking(number, False)
        except OSError: continue
        if number not in kept: kept.append(number)
while time.monotonic() < end:
    for number in kept:
        try: os.write(number, b'x' * 65536)
        except OSError: pass
"""
    box.run("kept = [2]", "stderr")
    before = time.process_time()
    with memory(), contextlib.suppress(SandboxDied):
        box.run(write, "stderr", timeout=10)
    assert time.process_time() - before < 2
