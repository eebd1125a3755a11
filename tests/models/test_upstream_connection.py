"""The connections to an upstream, against one that says whatever it likes, over real sockets."""

import asyncio
import contextlib
import gc
import itertools
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from everloom.kit.errors import ModelFailure
from everloom.models.upstream.connection import HEAD_BYTES, Disconnected, Silent, Unconnected
from everloom.models.upstream.connections import Connections, destination_of
from everloom.models.upstream.response import HELD_BYTES

OK = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Plain; charset=utf-8\r\n"
WHOLE = OK + b"content-length: 5\r\n\r\nhello"

Says = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """Reads requests and has ``says`` answer each."""

    def __init__(self, says: Says) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._says = says

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self._says(reader, writer)
                await writer.drain()


def saying(*pieces: bytes, close: bool = False) -> Says:
    async def says(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if close:
            writer.close()

    return says


@contextlib.asynccontextmanager
async def before(says: Says, **options: Any) -> AsyncIterator[tuple[Upstream, Connections]]:
    upstream = Upstream(says)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = {"connect_seconds": 5.0, "timeout": 5.0, "headers": {}} | options
    connections = Connections(f"http://127.0.0.1:{port}/v1", **options)
    try:
        yield upstream, connections
    finally:
        connections.close()
        server.close()


async def read(connections: Connections, body: bytes = b"{}") -> bytes:
    """The body, read in one way and in the other: each test asks several times, or once and does not care."""
    response = await connections.post("/chat", body)
    if next(TURNS):
        return b"".join([block async for block in response.blocks()])
    seen: list[bytes] = []
    blocks: list[bytes] = []

    def put(block: bytes) -> bool:
        blocks.append(block)
        return len(blocks) % 2 == 0

    await response.pour(put, no_wait, seen.append)
    assert b"".join(seen) == b"".join(blocks)
    return b"".join(blocks)


TURNS = itertools.cycle((True, False))


async def no_wait() -> None:
    pass


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def test_what_is_sent() -> None:
    async def main() -> None:
        async with before(saying(WHOLE), headers={"authorization": "Bearer k"}) as (upstream, connections):
            response = await connections.post("/chat", b'{"a": 1}')
            assert (response.status, response.content_type) == (200, "text/plain")
            head, _, body = upstream.requests[0].partition(b"\r\n\r\n")
            assert body == b'{"a": 1}'
            assert head.startswith(b"POST /v1/chat HTTP/1.1\r\nhost: 127.0.0.1:")
            assert b"\r\nauthorization: Bearer k\r\n" in head

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        OK + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + WHOLE,
        WHOLE.replace(b"\r\n", b"\n"),
    ],
)
def test_one_connection_answers_again_and_again(answer: bytes) -> None:
    async def main() -> None:
        async with before(saying(answer)) as (upstream, connections):
            assert [await read(connections) for _ in range(3)] == [b"hello"] * 3
            assert upstream.connections == 1

    run(main())


def test_a_head_in_crumbs() -> None:
    async def main() -> None:
        async with before(saying(*(bytes([byte]) for byte in WHOLE))) as (_, connections):
            assert await read(connections) == b"hello"

    run(main())


@pytest.mark.parametrize("answer", [OK + b"\r\nhello", b"HTTP/1.0 200 OK\r\n\r\nhello"])
def test_an_answer_without_a_length_ends_with_its_connection(answer: bytes) -> None:
    async def main() -> None:
        async with before(saying(answer, close=True)) as (upstream, connections):
            assert [await read(connections) for _ in range(2)] == [b"hello"] * 2
            assert upstream.connections == 2

    run(main())


@pytest.mark.parametrize("answer", [WHOLE + b"more", WHOLE + WHOLE, OK + b"connection: close\r\n" + WHOLE[len(OK) :]])
def test_a_connection_is_not_used_again_that_said_too_much_or_goodbye(answer: bytes) -> None:
    async def main() -> None:
        async with before(saying(answer)) as (upstream, connections):
            assert [await read(connections) for _ in range(3)] == [b"hello"] * 3
            assert upstream.connections == 3

    run(main())


@pytest.mark.parametrize("late", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", None], ids=["more", "goodbye"])
def test_what_came_unasked_is_nobodys_answer_though_the_loop_has_not_read_it_yet(late: bytes | None) -> None:
    async def main() -> None:
        writers: list[asyncio.StreamWriter] = []

        async def says(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            writer.write(WHOLE)

        async with before(says) as (upstream, connections):
            assert await read(connections) == b"hello"
            await asyncio.sleep(0.1)
            if late is None:
                writers[0].get_extra_info("socket").shutdown(socket.SHUT_WR)
            else:
                writers[0].write(late)
            assert await read(connections) == b"hello"
            assert (len(upstream.requests), upstream.connections) == (2, 2)

    run(main())


@pytest.mark.parametrize(
    ("seconds", "said", "again"), [(0.0, b"", True), (0.0, b"HTTP/1.1 2", False), (0.4, b"", False)]
)
def test_a_kept_connection_that_is_closed_as_it_is_used_again_costs_nobody_his_answer(
    seconds: float, said: bytes, again: bool
) -> None:
    """But for one that has said something, or was silent for long enough to have worked on it."""
    answered: set[asyncio.StreamWriter] = set()

    async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer in answered:
            await asyncio.sleep(seconds)
            writer.write(said)
            writer.close()
        else:
            answered.add(writer)
            writer.write(WHOLE)

    async def main() -> None:
        async with before(once) as (upstream, connections):
            assert await read(connections) == b"hello"
            if again:
                for _ in range(3):
                    assert await read(connections) == b"hello"
                assert upstream.connections == 4
            else:
                with pytest.raises(Disconnected):
                    await read(connections)

    run(main())


def test_a_connection_is_not_used_again_whose_upstream_has_not_heard_the_request_out() -> None:
    async def main() -> None:
        served = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal served
            served += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(WHOLE)
            await gone.wait()
            writer.close()

        gone = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connections = Connections(f"http://127.0.0.1:{port}/v1", {}, 5.0, 5.0)
        assert await read(connections, b"x" * 64 * 1024 * 1024) == b"hello"
        assert await read(connections) == b"hello"
        assert served == 2
        connections.close()
        gone.set()
        server.close()

    run(main())


@pytest.mark.parametrize(
    "pieces",
    [
        (b"nonsense\r\n\r\n",),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",),
        (OK, *[b"x-header: %d\r\n" % number for number in range(HEAD_BYTES)]),
        (OK + b"x-header: ", *[b"x" * 4096] * 32),
        (*[b"HTTP/1.1 100 Continue\r\n\r\n" * 500] * 32,),
        (b"HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\n" + WHOLE,),
        (b"HTTP/1.1 000 OK\r\ncontent-length: 5\r\n\r\nhello",),
    ],
    ids=[
        *("nonsense", "another protocol", "two lengths", "headers without end", "a header without end", "interims"),
        *("a goodbye before the answer", "no status"),
    ],
)
def test_what_is_no_answer_is_none(pieces: tuple[bytes, ...]) -> None:
    async def main() -> None:
        async with before(saying(*pieces)) as (_, connections):
            with pytest.raises(Disconnected):
                await connections.post("/chat", b"{}")

    run(main())


@pytest.mark.parametrize(
    "pieces",
    [
        (OK + b"content-length: 6\r\n\r\nhello",),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1;", *[b"x" * 4096] * 32),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: ", *[b"x" * 4096] * 32),
        (OK + b"transfer-encoding: chunked \r\n\r\n5\r\nhello\r\n",),
        (OK + b"transfer-encoding: chunked\t\r\n\r\nhello",),
        (OK + b"content-length : 6\r\n\r\nhello",),
    ],
    ids=[
        *("too short", "without an end", "no number", "an extension without end", "a trailer without end"),
        *("a blank behind chunked", "a tab behind chunked", "a blank behind the name"),
    ],
)
def test_an_answer_that_breaks_off_is_not_taken_for_whole(pieces: tuple[bytes, ...]) -> None:
    async def main() -> None:
        async with before(saying(*pieces, close=True)) as (_, connections):
            response = await connections.post("/chat", b"{}")
            blocks = response.blocks()
            assert await anext(blocks) == b"hello"
            with pytest.raises(Disconnected):
                await anext(blocks)

    run(main())


@pytest.mark.parametrize("said", [b"", OK, OK + b"content-length: 6\r\n\r\nhello"])
def test_silence_ends(said: bytes) -> None:
    async def main() -> None:
        async with before(saying(said), timeout=0.1) as (_, connections):
            with pytest.raises(Silent):
                await read(connections)

    run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        for url in ("http://127.0.0.1:1/v1", "ftp://somewhere"):
            with pytest.raises(Unconnected):
                await Connections(url, {}, 5.0, 5.0).post("/chat", b"{}")

    run(main())


def test_who_reads_slowly_is_not_sent_everything() -> None:
    size = 64 * HELD_BYTES

    async def main() -> None:
        written = 0

        async def says(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            writer.write(OK + b"content-length: %d\r\n\r\n" % size)
            while written < size:
                writer.write(b"x" * 65536)
                await writer.drain()
                written += 65536

        async with before(says) as (_, connections):
            response = await connections.post("/chat", b"{}")
            (connection,) = connections._open
            while not connection._paused:  # noqa: ASYNC110  # It tells nobody.
                await asyncio.sleep(0)
            assert written < size
            assert sum([len(block) async for block in response.blocks()]) == size

    run(main())


@pytest.mark.parametrize("is_slow", [False, True])
def test_what_is_poured_waits_for_room(is_slow: bool) -> None:
    """Whoever wants no more for now holds the upstream up, and then gets all of it in its order."""
    size, blocks, rooms = 64 * HELD_BYTES, bytearray(), 0
    pattern = bytes(range(256)) * 256

    async def main() -> None:
        written = 0

        async def says(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            writer.write(OK + b"content-length: %d\r\n\r\n" % size)
            while written < size:
                writer.write(pattern)
                await writer.drain()
                written += len(pattern)

        async with before(says) as (_, connections):
            response = await connections.post("/chat", b"{}")
            (connection,) = connections._open
            seen = 0

            def put(block: bytes) -> bool:
                blocks.extend(block)
                return not is_slow

            async def room() -> None:
                nonlocal rooms
                rooms += 1
                while rooms == 1 and not connection._paused:  # noqa: ASYNC110  # It tells nobody.
                    await asyncio.sleep(0)
                assert written < size or rooms > 1

            def see(block: bytes) -> None:
                nonlocal seen
                seen += len(block)

            await response.pour(put, room, see)
            assert blocks == pattern * (size // len(pattern))
            assert seen == size
            assert bool(rooms) == is_slow

    run(main())


CHUNKS = OK + b"transfer-encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n"


def test_what_goes_wrong_where_a_block_is_put_is_told() -> None:
    async def main() -> None:
        for at_once in (True, False):
            more = asyncio.Event()

            async def says(_: asyncio.StreamReader, writer: asyncio.StreamWriter, more: asyncio.Event = more) -> None:
                writer.write(CHUNKS)
                await more.wait()
                writer.write(b"5\r\nworld\r\n" * 3)

            def put(block: bytes, more: asyncio.Event = more, at_once: bool = at_once) -> bool:
                more.set()
                if at_once or b"world" in block:
                    raise ModelFailure("Enough.")
                return True

            async with before(says) as (_, connections):
                response = await connections.post("/chat", b"{}")
                with pytest.raises(ModelFailure, match="Enough"):
                    await response.pour(put, no_wait, lambda block: None)
                response.close()
                assert await asyncio.wait_for(_until_none(connections), 5) is None

    run(main())


async def _until_none(connections: Connections) -> None:
    while connections._open:  # noqa: ASYNC110  # They tell nobody.
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("breaks", [False, True])
def test_all_that_was_put_is_seen_however_it_ends(breaks: bool) -> None:
    async def main() -> None:
        put_first = asyncio.Event()

        async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(CHUNKS)
            await put_first.wait()
            writer.write(b"5\r\nworld\r\n")
            await (writer.drain() if breaks else reader.read())
            writer.close()

        async with before(says) as (_, connections):
            response = await connections.post("/chat", b"{}")
            blocks: list[bytes] = []
            seen: list[bytes] = []
            put_both = asyncio.Event()

            def put(block: bytes) -> bool:
                blocks.append(block)
                put_first.set()
                if len(blocks) == 2:
                    put_both.set()
                return True

            pouring = asyncio.create_task(response.pour(put, no_wait, seen.append))
            await put_both.wait()
            if not breaks:
                pouring.cancel()
            with pytest.raises(Disconnected if breaks else asyncio.CancelledError):
                await pouring
            assert b"".join(seen) == b"".join(blocks) == b"helloworld"
            response.close()

    run(main())


@pytest.mark.parametrize("ends", [False, True])
def test_an_answer_that_was_poured_goes_at_once(ends: bool) -> None:
    """What it was poured into knows it, and is known by it only as long."""

    async def main() -> None:
        put_first = asyncio.Event()

        async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(CHUNKS)
            await put_first.wait()
            writer.write(b"0\r\n\r\n" if ends else b"5\r\nworld\r\n")

        async with before(says) as (_, connections):
            response = await connections.post("/chat", b"{}")
            gone = weakref.ref(response)

            def put(block: bytes, held: object = response) -> bool:
                put_first.set()
                return True

            def see(block: bytes, held: object = response) -> None:
                pass

            pouring = asyncio.create_task(response.pour(put, no_wait, see))
            await put_first.wait()
            if not ends:
                pouring.cancel()
            await asyncio.wait([pouring])
            response.close()
            await asyncio.sleep(0.1)
            del response, put, see, pouring
            assert gone() is None

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


def test_who_gives_up_leaves_the_connections_of_others_alone() -> None:
    async def main() -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if b'"wait"' in upstream.requests[-1]:
                asked.set()
                await reader.read()
                gone.set()
            else:
                writer.write(WHOLE)

        async with before(says) as (upstream, connections):
            waiting = asyncio.create_task(connections.post("/chat", b'"wait"'))
            await asked.wait()
            assert await read(connections) == b"hello"
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await gone.wait()
            assert await read(connections) == b"hello"
            assert upstream.connections == 2

    run(main())


def test_an_answer_that_is_closed_early_cuts_its_connection() -> None:
    async def main() -> None:
        async with before(saying(OK + b"content-length: 6\r\n\r\nhello")) as (upstream, connections):
            (await connections.post("/chat", b"{}")).close()
            (await connections.post("/chat", b"{}")).close()
            assert upstream.connections == 2

    run(main())


def test_where_a_base_url_leads() -> None:
    to = destination_of("https://user:p%40ss@bücher.example/a b/v1/", {"user-agent": "x"})
    assert (to.host, to.port, to.encrypted, to.path) == ("xn--bcher-kva.example", 443, True, "/a%20b/v1")
    assert b"host: xn--bcher-kva.example\r\n" in to.head
    assert b"authorization: Basic dXNlcjpwQHNz\r\n" in to.head
    to = destination_of("http://[::1]:8000/v1", {"authorization": "Bearer k"})
    assert (to.host, to.port, to.encrypted) == ("::1", 8000, False)
    assert b"host: [::1]:8000\r\n" in to.head
    for nonsense in ("nowhere", "http:///v1"):
        with pytest.raises(ValueError, match="no URL"):
            destination_of(nonsense, {})
    with pytest.raises(ValueError, match="line ends"):
        destination_of("http://host/v1", {"authorization": "Bearer a\r\nx: y"})
