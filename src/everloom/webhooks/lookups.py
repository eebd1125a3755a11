"""Names looked up in threads of their own: a name server that never answers holds nobody else's."""

import asyncio
import contextlib
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

LOOKUPS = 64
"""At once. The system gives a dead name server some ten seconds."""


class OwnThreads(AbstractResolver):
    """The system's resolver. Nobody waits at the process's end for a lookup that is still under way."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Errors: ``OSError``."""
        await self._room.acquire()  # Given back by the thread, which goes on where the caller has left.
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def settle(result: list[ResolveResult] | Exception) -> None:
            self._room.release()
            if found.done():
                return
            if isinstance(result, Exception):
                found.set_exception(result)
            else:
                found.set_result(result)

        def look() -> None:
            try:
                result: list[ResolveResult] | Exception = _look_up(host, port, family)
            except Exception as error:
                result = error
            with contextlib.suppress(RuntimeError):  # The loop has ended.
                loop.call_soon_threadsafe(settle, result)

        threading.Thread(target=look, name="everloom-lookup", daemon=True).start()
        return await found

    async def close(self) -> None:
        """Nothing is held."""


def _look_up(host: str, port: int, family: int) -> list[ResolveResult]:
    try:
        rows = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(None, str(error)) from error
    return [_result(host, port, row) for row in rows]


def _result(host: str, port: int, row: Any) -> ResolveResult:
    family, _, protocol, _, address = row
    numeric = f"{address[0]}%{address[3]}" if len(address) > 3 and address[3] and "%" not in address[0] else address[0]
    return ResolveResult(
        hostname=host, host=numeric, port=port, family=family, proto=protocol, flags=socket.AI_NUMERICHOST
    )
