"""The sandboxes of a server: one a conversation, started from a few that are warm, ended when nobody uses them."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Hashable
from pathlib import Path

from everloom.sandbox.base import SandboxLimits, SandboxUnavailable
from everloom.sandbox.bubblewrap import Bubblewrap
from everloom.sandbox.gateway import Gateway
from everloom.sandbox.interpreter import look_at
from everloom.sandbox.kernel import Kernel
from everloom.sandbox.orphans import sweep
from everloom.sandbox.session import JupyterSession, RunningKernel

_TICK = 1.0
_REMEMBERED = 10_000
_log = logging.getLogger(__name__)


class _Seat:
    """A conversation's place, taken or not."""

    def __init__(self, session: JupyterSession) -> None:
        self.session = session
        self.lock = asyncio.Lock()
        self.wanted = 0
        """How many hold it or wait for it."""
        self.left_at = 0.0


class JupyterSandboxes:
    """Open it before use; ``available`` says whether code can be run.

    ``folder``: the server's data, which must not lie within what sandboxes may read. ``python``: the interpreter that
    runs the code, the server's own by default. ``idle``: seconds after which a sandbox nobody used is ended. ``pool``:
    warm kernels kept for new conversations, once there was a first. ``gateway``: base URL of a Jupyter Kernel Gateway
    or Enterprise Gateway that runs the code instead of this machine, ``gateway_token`` what it asks for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        python: Path | None = None,
        idle: float = 3600,
        pool: int = 2,
        limits: SandboxLimits | None = None,
        gateway: str | None = None,
        gateway_token: str | None = None,
    ) -> None:
        self._folder = folder.resolve()
        self._python = python or Path(sys.executable)
        self._idle = idle
        self._pool = pool
        self._limits = limits or SandboxLimits()
        self._gateway = Gateway(gateway, gateway_token, self._limits) if gateway else None
        self._missing: str | None = "The sandboxes are not open."
        self._bubblewrap: Bubblewrap | None = None
        self._warm: list[RunningKernel] = []
        self._seats: dict[Hashable, _Seat] = {}
        self._expired: dict[Hashable, bool] = {}
        """Conversations whose next call is to hear that its sandbox is a new one."""
        self._left = asyncio.Condition()
        self._starting = 0
        self._filling: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    def available(self) -> str | None:
        """None when code can be run; else the reason why not, a sentence."""
        return self._missing

    async def open(self) -> None:
        """Look whether sandboxes can be had here. Raises nothing: ``available`` tells."""
        try:
            await (self._gateway.prepare() if self._gateway else self._prepare())
            self._missing = None
        except SandboxUnavailable as error:
            self._missing = str(error)
            return
        self._keeping = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End all sandboxes."""
        self._missing = "The sandboxes are closed."
        tasks = [task for task in (self._keeping, self._filling) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        places = [*self._warm, *(seat.session.place for seat in self._seats.values())]
        for failure in await asyncio.gather(*(place.close() for place in places if place), return_exceptions=True):
            if failure:
                _log.error("a sandbox does not close", exc_info=failure)
        self._warm.clear()
        self._seats.clear()
        if self._gateway:
            await self._gateway.close()

    @contextlib.asynccontextmanager
    async def session(self, key: Hashable) -> AsyncIterator[JupyterSession]:
        """The sandbox of a conversation, for one caller at a time. Errors: ``SandboxUnavailable``."""
        if self._missing:
            raise SandboxUnavailable(self._missing)
        seat = self._seats.get(key)
        if seat is None:
            note = "Nobody had used it for a long time." if self._expired.pop(key, False) else ""
            seat = self._seats[key] = _Seat(JupyterSession(self._place, self._limits, note))
        seat.wanted += 1
        try:
            async with seat.lock:
                yield seat.session
        finally:
            seat.wanted -= 1
            seat.left_at = asyncio.get_running_loop().time()
            async with self._left:
                self._left.notify_all()

    async def warm(self) -> None:
        """Fill the pool and wait for it. Errors: ``SandboxUnavailable``."""
        while len(self._warm) < self._pool:
            self._warm.append(await self._start())

    async def _prepare(self) -> None:
        interpreter = await look_at(self._python)
        for tree in interpreter.trees.values():
            if self._folder.is_relative_to(tree):
                raise SandboxUnavailable(f"The data folder lies within {tree}, which code may read; move one of them.")
        records = self._folder / "sandboxes"
        await asyncio.to_thread(sweep, records)
        bubblewrap = Bubblewrap(interpreter, self._limits, records)
        await bubblewrap.prepare()
        self._bubblewrap = bubblewrap

    async def _place(self) -> RunningKernel:
        """A kernel for a conversation: a warm one, if there is."""
        await self._make_room()
        self._starting += 1
        try:
            while self._warm:
                if (place := self._warm.pop(0)).alive:
                    return place
                await place.close()
            return await self._start()
        finally:
            self._starting -= 1
            if self._pool and (self._filling is None or self._filling.done()):
                self._filling = asyncio.create_task(self._fill())

    async def _make_room(self) -> None:
        """Wait until one more kernel may be started; the one idle longest goes first."""
        while True:
            living = [seat for seat in self._seats.values() if seat.session.place]
            if len(living) + self._starting < self._limits.kernels:
                return
            idle = [seat for seat in living if not seat.wanted]
            if idle:
                oldest = min(idle, key=lambda seat: seat.left_at)
                await self._end(oldest, "It made room for others.")
            else:
                async with self._left:
                    await self._left.wait()

    async def _start(self) -> RunningKernel:
        if self._gateway:
            return await self._gateway.start()
        assert self._bubblewrap
        return await Kernel.start(self._bubblewrap, self._limits)

    async def _fill(self) -> None:
        try:
            await self.warm()
        except SandboxUnavailable as error:
            _log.warning("no warm sandbox: %s", error)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            for key, seat in list(self._seats.items()):
                try:
                    await self._keep_seat(key, seat)
                except Exception:  # One that cannot be ended is no reason to look after no other.
                    _log.exception("a sandbox does not end")

    async def _keep_seat(self, key: Hashable, seat: _Seat) -> None:
        if seat.session.place:
            seat.session.place.look_after()
        if not seat.wanted and seat.left_at < asyncio.get_running_loop().time() - self._idle:
            await self._end(seat, "")
            if not seat.wanted:
                self._seats.pop(key, None)
                self._expired[key] = True
        while len(self._expired) > _REMEMBERED:
            self._expired.pop(next(iter(self._expired)))

    async def _end(self, seat: _Seat, why: str) -> None:
        seat.wanted += 1
        try:
            async with seat.lock:
                await seat.session.end(why)
        finally:
            seat.wanted -= 1
