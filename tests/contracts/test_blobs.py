"""The contract of the blobs' port, run over every store that obstore gives us."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from everloom.blobs.base import Blobs
from everloom.blobs.obstore import BLOCK_BYTES, PART_BYTES, ObjectBlobs

BLOCK = bytes(range(256)) * 256


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3: ``moto_server`` from the path, or the one that MOTO_SERVER names."""
    command = os.environ.get("MOTO_SERVER") or shutil.which("moto_server")
    if command is None:
        pytest.skip("no moto_server here (pip install 'moto[s3,server]'), so nothing that speaks S3")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [command, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _make_bucket(endpoint, server)
            yield endpoint
        finally:
            server.terminate()


def _make_bucket(endpoint: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while True:
        if server.poll() is not None:
            pytest.skip("moto_server is here but does not start")
        try:
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/everloom", method="PUT")).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture(params=["folder", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "folder":
        return ObjectBlobs.at((tmp_path / "blobs with spaces").as_uri())
    if request.param == "memory":
        return ObjectBlobs.at("memory:///")
    return ObjectBlobs.at(
        "s3://everloom/files",
        endpoint=request.getfixturevalue("s3_endpoint"),
        access_key_id="test",
        secret_access_key="test",
        region="us-east-1",
        client_options={"allow_http": True},
    )


async def blocks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def whole(blobs: Blobs, name: str, **span: int) -> bytes:
    return b"".join([block async for block in blobs.read(name, **span)])


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_what_was_put_is_read(blobs: Blobs) -> None:
    async def scenario() -> None:
        assert await blobs.put("file-small", blocks(b"hello ", b"", b"world")) == 11
        assert await whole(blobs, "file-small") == b"hello world"

    run(scenario())


def test_no_bytes_at_all_are_a_blob(blobs: Blobs) -> None:
    async def scenario() -> None:
        assert await blobs.put("file-empty", blocks()) == 0
        assert await whole(blobs, "file-empty") == b""

    run(scenario())


def test_more_than_a_part_is_kept_in_order_and_read_in_blocks(blobs: Blobs) -> None:
    count = 2 * PART_BYTES // len(BLOCK) + 3

    async def scenario() -> None:
        assert await blobs.put("file-large", blocks(*[BLOCK] * count)) == count * len(BLOCK)
        pieces = [block async for block in blobs.read("file-large")]
        assert b"".join(pieces) == BLOCK * count
        assert len(pieces) > 4
        assert max(map(len, pieces)) <= BLOCK_BYTES

    run(scenario())


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 5, b"01234"), (3, 4, b"3456"), (8, 100, b"89"), (7, None, b"789"), (10, None, b""), (50, 2, b""), (4, 0, b"")],
)
def test_a_range_is_read(blobs: Blobs, offset: int, length: int | None, expected: bytes) -> None:
    async def scenario() -> None:
        await blobs.put("file-range", blocks(b"0123456789"))
        read = [block async for block in blobs.read("file-range", offset=offset, length=length)]
        assert b"".join(read) == expected

    run(scenario())


def test_what_is_not_there_says_so(blobs: Blobs) -> None:
    async def scenario() -> None:
        with pytest.raises(FileNotFoundError):
            await whole(blobs, "file-absent")
        with pytest.raises(FileNotFoundError):
            await whole(blobs, "file-absent", offset=3)

    run(scenario())


def test_removing_is_final_and_may_be_repeated(blobs: Blobs) -> None:
    async def scenario() -> None:
        await blobs.put("file-gone", blocks(b"x"))
        await blobs.remove("file-gone")
        await blobs.remove("file-gone")
        with pytest.raises(FileNotFoundError):
            await whole(blobs, "file-gone")

    run(scenario())


@pytest.mark.parametrize("after", [0, 1, 2 * PART_BYTES // len(BLOCK)], ids=["at once", "one block", "two parts"])
def test_a_source_that_fails_leaves_nothing(blobs: Blobs, after: int, tmp_path: Path) -> None:
    class Broken(Exception):
        pass

    async def source() -> AsyncIterator[bytes]:
        for _ in range(after):
            yield BLOCK
        raise Broken

    async def scenario() -> None:
        with pytest.raises(Broken):
            await blobs.put("file-broken", source())
        with pytest.raises(FileNotFoundError):
            await whole(blobs, "file-broken")

    run(scenario())
    _wait_until(lambda: not [path for path in tmp_path.rglob("*") if path.is_file()])


def test_a_put_that_is_cancelled_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    async def endless(started: asyncio.Event) -> AsyncIterator[bytes]:
        for sent in range(10_000):
            if sent * len(BLOCK) > PART_BYTES:
                started.set()
                await asyncio.sleep(0.01)
            yield BLOCK

    async def scenario() -> None:
        started = asyncio.Event()
        put = asyncio.create_task(blobs.put("file-cancelled", endless(started)))
        await started.wait()
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
        with pytest.raises(FileNotFoundError):
            await whole(blobs, "file-cancelled")

    run(scenario())
    _wait_until(lambda: not [path for path in tmp_path.rglob("*") if path.is_file()])


def test_what_a_killed_put_left_goes_with_its_name(tmp_path: Path) -> None:
    """A folder alone keeps anything of it. The adapter knows how object_store calls a file that it is still writing."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    program = _DIES.format(folder=str(folder), size=3 * PART_BYTES)
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == -9
    (left,) = folder.iterdir()
    assert left.stat().st_size > 0

    async def scenario() -> None:
        blobs = ObjectBlobs.at(folder.as_uri())
        with pytest.raises(FileNotFoundError):
            await whole(blobs, "file-killed")
        await blobs.remove("file-killed")

    run(scenario())
    assert not left.exists()


_DIES = """
import asyncio, os, pathlib, signal
from everloom.blobs.obstore import ObjectBlobs

folder = pathlib.Path({folder!r})

async def source():
    for _ in range({size} // 65536):
        yield bytes(65536)
    while not any(path.stat().st_size for path in folder.iterdir()):
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(ObjectBlobs.at(folder.as_uri()).put("file-killed", source()))
"""


def test_a_reader_may_leave_early(blobs: Blobs) -> None:
    async def scenario() -> None:
        await blobs.put("file-left", blocks(*[BLOCK] * 64))
        async for block in blobs.read("file-left"):
            assert block
            break
        assert len(await whole(blobs, "file-left")) == 64 * len(BLOCK)

    run(scenario())


@pytest.mark.parametrize("name", ["", "..", "../secret", "a/b", "/etc/passwd", "a.b", "a\0b", "a#1", "ä", "x" * 129])
def test_no_name_leads_elsewhere(blobs: Blobs, name: str) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="not a blob's name"):
            await blobs.put(name, blocks(b"x"))
        with pytest.raises(ValueError, match="not a blob's name"):
            await whole(blobs, name)
        with pytest.raises(ValueError, match="not a blob's name"):
            await blobs.remove(name)

    run(scenario())


def test_many_at_once_do_not_mix(blobs: Blobs) -> None:
    async def scenario() -> None:
        names = [f"file-{number}" for number in range(20)]
        await asyncio.gather(*(blobs.put(name, blocks(name.encode(), BLOCK)) for name in names))
        for name in names:
            assert await whole(blobs, name) == name.encode() + BLOCK

    run(scenario())


def test_a_place_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="ftp"):
        ObjectBlobs.at("ftp://example.org/x")


def _wait_until(holds: Callable[[], bool]) -> None:
    """Temporary files are unlinked in the background: give that a moment."""
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holds()
