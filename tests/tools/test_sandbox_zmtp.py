"""ZeroMQ's protocol, spoken with libzmq and with peers who mean harm."""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from everloom.sandbox.zmtp import KernelConnection, MessageLimits, ZmtpError

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x06\x05READY"
LIMITS = MessageLimits(bytes=1 << 20, parts=4)

Peer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(folder: Path, says: Peer, heard: list[int] | None = None) -> AsyncIterator[KernelConnection]:
    """A connection to somebody who says what he likes."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await says(writer)
            await writer.drain()
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    path = str(folder / "socket")
    async with await asyncio.start_unix_server(speak, path):
        count = (heard if heard is not None else []).append
        async with asyncio.timeout(20):
            connection = await KernelConnection.open(path, "DEALER", LIMITS, count)
            try:
                yield connection
            finally:
                connection.close()


def frame(body: bytes, flags: int = 0) -> bytes:
    return bytes((flags | 2,)) + len(body).to_bytes(8, "big") + body


def test_it_speaks_with_libzmq(tmp_path: Path) -> None:
    zmq = pytest.importorskip("zmq")
    asyncio_zmq = pytest.importorskip("zmq.asyncio")

    async def speaking() -> None:
        with asyncio_zmq.Context() as context:
            router, publisher = context.socket(zmq.ROUTER), context.socket(zmq.XPUB)
            router.bind(f"ipc://{tmp_path}/router")
            publisher.bind(f"ipc://{tmp_path}/pub")
            dealer = await KernelConnection.open(f"{tmp_path}/router", "DEALER", LIMITS, lambda _: None)
            subscriber = await KernelConnection.open(f"{tmp_path}/pub", "SUB", LIMITS, lambda _: None)
            await dealer.send([b"", b"short", bytes(70_000)])
            identity, *parts = await router.recv_multipart()
            assert parts == [b"", b"short", bytes(70_000)]
            await router.send_multipart([identity, b"answer", bytes(300)])
            assert await dealer.receive() == [b"answer", bytes(300)]
            assert await publisher.recv() == b"\x01"
            await publisher.send_multipart([b"topic", b"news"])
            assert await subscriber.receive() == [b"topic", b"news"]
            for one in (dealer, subscriber):
                one.close()
            for socket in (router, publisher):
                socket.close(0)

    asyncio.run(asyncio.wait_for(speaking(), 20))


def test_what_passes_a_limit_is_thrown_away_and_the_next_message_is_whole(tmp_path: Path) -> None:
    async def says(writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING + READY)
        writer.write(frame(bytes(2 << 20)))
        writer.write(b"".join(frame(b"part", 1) for _ in range(4)) + frame(b"fifth"))
        writer.write(b"".join(frame(bytes(600 << 10), 1) for _ in range(2)) + frame(b"third"))
        writer.write(frame(b"a", 1) + frame(b"b"))

    async def listening() -> list[object]:
        async with peer(tmp_path, says) as connection:
            return [await connection.receive() for _ in range(4)]

    assert asyncio.run(listening()) == [None, None, None, [b"a", b"b"]]


def test_a_message_without_an_end_takes_no_memory(tmp_path: Path) -> None:
    heard: list[int] = []

    async def says(writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING + READY)
        part = frame(bytes(8 << 20), 1)
        for _ in range(40):
            writer.write(part)
            await writer.drain()
        writer.close()

    async def listening() -> None:
        async with peer(tmp_path, says, heard) as connection:
            with pytest.raises(EOFError):
                await connection.receive()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(listening())
    assert sum(heard) > 320 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n" + bytes(64),
        GREETING.replace(b"NULL", b"CURV") + READY,
        GREETING + b"\x00\x01x",
        GREETING + READY + b"\x80\x00",
        GREETING + READY + b"\x05\x00",
        GREETING + READY + b"\x06" + (1 << 62).to_bytes(8, "big"),
    ],
    ids=["http", "curve", "not ready", "reserved", "command with more", "long command"],
)
def test_what_is_no_zmtp(tmp_path: Path, said: bytes) -> None:
    async def says(writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async def listening() -> None:
        async with peer(tmp_path, says) as connection:
            await connection.receive()

    with pytest.raises(ZmtpError):
        asyncio.run(listening())
