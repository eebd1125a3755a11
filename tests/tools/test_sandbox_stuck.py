"""Calls that would never end: each ends in its time, and the next one runs its own code and says what happened."""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator

import pytest

from everloom.sandbox.base import Printed, SandboxDied, SandboxLimits
from tests.bubblewrap import Bench, bench

LIMITS = SandboxLimits(seconds=6, grace=1, take_up=4)
GIVEN = 600.0
"""Seconds that runs here would give a call; the sandbox's own limits are what ends it."""
MOST = 120.0
"""Seconds in which a call has ended that was not given ``GIVEN``, on any machine."""

FORGE = """
import json, hmac, hashlib
def reply():
    kernel = get_ipython().kernel
    parent = json.dumps(kernel.get_parent()['header'], default=str).encode()
    for kind, content, socket in (('execute_reply', b'{"status":"ok"}', kernel.iopub_socket),
                                  ('status', b'{"execution_state":"idle"}', kernel.iopub_socket)):
        parts = (json.dumps({'msg_type': kind}).encode(), parent, b'{}', content)
        signature = hmac.new(kernel.session.key, b''.join(parts), hashlib.sha256).hexdigest().encode()
        socket.send_multipart([b'<IDS|MSG>', signature, *parts])
"""

STUCK = {
    "stops itself": ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "stopped the Python"),
    "ends its main thread": ("import ctypes; ctypes.CDLL(None).syscall(60, 0)", "ended the main thread"),
    "swallows interrupts": (
        "import time\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass",
        "ran for more than 6 seconds and could not be interrupted",
    ),
    "closes its sockets": (
        "import os, time\nfor n in map(int, os.listdir('/proc/self/fd')):\n"
        "    try:\n        if os.readlink(f'/proc/self/fd/{n}').startswith('socket:'): os.close(n)\n"
        "    except OSError: pass\ntime.sleep(60)",
        "ended the Python|closed the connections",  # libzmq aborts without its own sockets, sooner or later
    ),
    "shuts its connections": (
        "import os, socket, time\nfor n in map(int, os.listdir('/proc/self/fd')):\n"
        "    try:\n        s = socket.socket(fileno=os.dup(n))\n"
        "        if 'kernel/socket' in str(s.getsockname()): s.shutdown(2)\n    except OSError: pass\ntime.sleep(60)",
        "ended the Python|closed the connections",
    ),
    "says nothing": (
        "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "get_ipython().kernel.session.send = lambda *a, **k: None\ntime.sleep(60)",
        "ran for more than 6 seconds and could not be interrupted",
    ),
}


@pytest.fixture
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("data"), LIMITS) as found:
        found.logs("x = 1")
        yield found


@pytest.mark.parametrize("how", STUCK)
def test_a_call_that_never_ends_is_ended(box: Bench, how: str) -> None:
    code, why = STUCK[how]
    began = time.monotonic()
    with pytest.raises(SandboxDied, match=why):
        box.run(code, timeout=GIVEN)
    assert time.monotonic() - began < MOST
    first, *rest = box.run("'own'")
    assert isinstance(first, Printed)
    assert first.text.startswith("[A new sandbox was started; variables and files of the last one are gone.")
    assert re.search(why, first.text)
    assert rest == [Printed("'own'\n")]


def test_the_servers_own_limit_holds_whatever_time_a_run_has_left(box: Bench) -> None:
    began = time.monotonic()
    told = box.logs("import time; time.sleep(60)", timeout=GIVEN)
    assert told.endswith("[The code was stopped: it ran for more than 6 seconds.]\n")
    assert time.monotonic() - began < MOST
    assert box.logs("x") == "1\n"


def test_a_call_that_is_listened_to_slowly_ends_in_its_time_too(box: Bench) -> None:
    async def listening() -> float:
        async with box.sandboxes.session("one") as session:
            code = "import os, time\nwhile True: time.sleep(0.001); print(os.getpid(), flush=True)"
            running = session.run(code, GIVEN)
            await anext(running)
            began = time.monotonic()
            await asyncio.sleep(LIMITS.seconds + LIMITS.grace + 1)
            assert session.place is not None
            call = session.place._call  # type: ignore[attr-defined]  # tests look behind the port
            assert call is None or call.replied, "the code goes on, since nobody looks"
            async for _ in running:
                pass
            return time.monotonic() - began

    assert box.do(listening()) < MOST


@pytest.mark.parametrize(
    "left",
    [
        "import os, signal, threading\nthreading.Timer(0.5, os.kill, (os.getpid(), signal.SIGSTOP)).start()",
        FORGE + "import time\nreply()\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass",
        "import os, threading, time\ndef steal():\n    time.sleep(0.5)\n    k = get_ipython().kernel\n"
        "    k.shell_stream.close() if hasattr(k, 'shell_stream') else k.shell_channel_thread.stop()\n"
        "threading.Thread(target=steal).start()",
    ],
    ids=["stopped", "still running", "deaf"],
)
def test_what_an_earlier_call_left_does_not_keep_the_next_from_its_code(box: Bench, left: str) -> None:
    box.run(left)
    box.do(asyncio.sleep(1.5))
    began = time.monotonic()
    first, *rest = box.run("print('own')", timeout=GIVEN)
    assert time.monotonic() - began < MOST
    assert isinstance(first, Printed)
    assert first.text.startswith("[A new sandbox was started;")
    assert rest == [Printed("own\n")]


def test_a_call_that_is_left_is_ended_without_another_call(box: Bench) -> None:
    # It prints where an interrupt is swallowed already: the one interrupt comes as soon as it has been heard.
    code = "import time\nwhile True:\n    try: print(1, flush=True); time.sleep(9)\n    except BaseException: pass"

    async def leaving() -> None:
        async with box.sandboxes.session("one") as session:
            running = session.run(code)
            assert await anext(running) == Printed("1\n")
            await running.aclose()
            place = session.place
            assert place is not None
            async with asyncio.timeout(MOST):
                await asyncio.shield(place.ended)  # type: ignore[attr-defined]  # tests look behind the port
            assert not place.alive

    box.do(leaving())
    told = box.logs("'own'")
    assert "was left before its end and could not be interrupted" in told
    assert told.endswith("'own'\n")


def test_a_call_heeding_its_interrupt_when_left_keeps_the_state(box: Bench) -> None:
    async def leaving() -> None:
        async with box.sandboxes.session("one") as session:
            running = session.run("y = 2\nprint(1, flush=True)\nwhile True: pass")
            assert await anext(running) == Printed("1\n")
            await running.aclose()

    box.do(leaving())
    assert box.logs("x + y") == "3\n"


def test_forged_replies_do_not_lengthen_a_call(box: Bench) -> None:
    began = time.monotonic()
    endless = "import time\nwhile True:\n    try:\n        reply(); time.sleep(0.3)\n    except BaseException: pass"
    with contextlib.suppress(SandboxDied):
        box.run(FORGE.replace('"idle"', '"busy"') + endless, timeout=GIVEN)
    assert time.monotonic() - began < MOST
    assert box.logs("'own'").endswith("'own'\n")
