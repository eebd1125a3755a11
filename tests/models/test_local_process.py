"""The child process: cancelled, killed, left behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from everloom.kit.errors import ModelFailure
from everloom.models.llama.backend import LlamaBackend
from everloom.models.llama.engine import LlamaEngine
from tests.models.local_model import NAME, Local, loaded, user
from tests.weights import default_gguf, default_weights

LONG: dict[str, Any] = {"messages": user("Tell me a story."), "max_tokens": 2000, "stream": True}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with loaded(slots=1, context=2048) as local:
        yield local


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return True


def wait_for_end(pid: int, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(pid)


def test_nothing_runs_before_it_is_needed(local: Local) -> None:
    with loaded() as other:
        assert other.backend.children() == []
        assert other.run(other.backend.traits(NAME)).context_window == 4096
        other.run(other.backend.preload())
        (pid,) = other.backend.children()
        assert alive(pid)
    assert wait_for_end(pid)


def test_a_closed_answer_frees_the_only_slot(local: Local) -> None:
    async def cancel_and_ask() -> float:
        answer = await local.backend.chat(local.request(**LONG, seed=1))
        blocks = answer.blocks()
        await anext(blocks)
        await answer.close()
        since = time.monotonic()
        await local.bytes(messages=user("Hi"), max_tokens=1)
        return time.monotonic() - since

    local.run(local.bytes(messages=user("Hi"), max_tokens=1))
    assert local.run(cancel_and_ask()) < 5  # the story alone would take 20 s and more


def test_an_abandoned_request_frees_the_slot_too(local: Local) -> None:
    async def abandon_and_ask() -> bytes:
        task = asyncio.create_task(local.bytes(**LONG))
        await asyncio.sleep(0.3)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return await asyncio.wait_for(local.bytes(messages=user("Hi"), max_tokens=1), 5)

    assert b"chat.completion" in local.run(abandon_and_ask())


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_child_fails_what_it_did_and_the_next_request_works(local: Local) -> None:
    async def kill_in_the_middle() -> tuple[int, list[bytes]]:
        answer = await local.backend.chat(local.request(**LONG))
        seen: list[bytes] = []
        (pid,) = local.backend.children()

        async def read_and_kill() -> None:
            async for block in answer.blocks():
                seen.append(block)
                if len(seen) == 3:
                    os.kill(pid, signal.SIGKILL)

        with pytest.raises(ModelFailure) as caught:
            await read_and_kill()
        await answer.close()
        assert caught.value.status == 502
        return pid, seen

    pid, seen = local.run(kill_in_the_middle())
    assert b"[DONE]" not in b"".join(seen)
    assert local.chat(messages=user("Hi"), max_tokens=2).choices[0].message.content
    assert local.backend.children() != [pid]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_child_killed_between_two_requests_is_not_noticed(local: Local) -> None:
    local.run(local.backend.preload())
    os.kill(local.backend.children()[0], signal.SIGKILL)
    assert local.chat(messages=user("Hi"), max_tokens=2).choices[0].message.content


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_the_child_does_not_outlive_a_killed_parent() -> None:
    script = (
        "import asyncio, time\n"
        "from tests.models.local_model import loaded\n"
        "with loaded() as local:\n"
        "    local.run(local.backend.preload())\n"
        "    print(local.backend.children()[0], flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    assert wait_for_end(child)


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(default_gguf().read_bytes()[:5_000_000])
    with asyncio.Runner() as runner:
        models = {"none": tmp_path / "none.gguf", "broken": broken}
        backend = LlamaBackend(models, default_weights())
        for name, words in (("none", "cannot be used"), ("broken", "cannot be loaded: .* ends before its")):
            with pytest.raises(ModelFailure, match=words) as caught:
                runner.run(backend.chat({"model": name, "messages": user("Hi")}))
            assert caught.value.status == 503
        runner.run(backend.close())


def test_the_parent_loads_no_engine() -> None:
    script = (
        "import sys, everloom.models.llama.backend\n"
        "print([name for name in ('xllamacpp', 'numpy', 'tiktoken', 'rich') if name in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"


def test_an_engine_that_is_stuck_is_ended_and_started_again() -> None:
    """A stopped process is as silent as one that compiles for ever."""

    async def stuck_and_asked_again() -> None:
        engine = LlamaEngine(default_gguf(), slots=1, context=256, stall=6)
        hello = {"messages": user("Hi"), "max_tokens": 2, "stream": True}
        try:
            await engine.ready()
            pid = engine.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            silent = [_all(engine.generate("/chat/completions", hello)) for _ in range(2)]
            for failure in await asyncio.gather(*silent, return_exceptions=True):
                assert isinstance(failure, ModelFailure | list), "the second one may have found the new child"
            assert not alive(pid)
            assert await _all(engine.generate("/chat/completions", hello))
            assert engine.pid != pid
        finally:
            await engine.close()

    asyncio.run(stuck_and_asked_again())


async def _all(payloads: AsyncGenerator[bytes, None]) -> list[bytes]:
    return [payload async for payload in payloads]
