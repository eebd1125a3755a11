"""The memory that models on this machine have together: who is loaded, who has to go, who waits.

A model is loaded at its first request and stays until another one needs its place; then the one that was used
least recently goes. Why a queue and not a lock a model: ``docs/local-models.md``, "Memory".
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import psutil
from prometheus_client import Gauge

from everloom.kit.errors import ModelAway, ModelFailure

T = TypeVar("T")

SHARE = 0.75
"""Of the memory that is free when the server starts, where no setting says how much models may have."""

LEAST = 1 << 30
"""Bytes that are a budget on any machine, so that the default models are tried on a small one too."""

WAIT_S = 600.0
"""How long a request waits for room before it is told that there is none."""

_GROUP = Path("/sys/fs/cgroup")
_log = logging.getLogger(__name__)
_bytes = Gauge(
    "everloom_local_model_bytes",
    "Memory counted for a model that is loaded on this machine.",
    ["model"],
    multiprocess_mode="liveall",  # What a process had loaded goes with it.
)


class Loadable(Protocol):
    """A model that takes part in a budget, whatever runs it."""

    name: str

    @property
    def pid(self) -> int | None:
        """The process that holds it, while it is loaded."""
        ...

    async def estimate(self) -> int:
        """Bytes it will take once loaded: its files and what it works with. Errors: ``ModelFailure``."""
        ...

    async def unload(self) -> None:
        """End the process; the next use starts it again. Called only while nobody uses the model."""
        ...


class Preloadable(Loadable, Protocol):
    """One that can be loaded before anybody asks for it."""

    async def load(self) -> None:
        """Fetch and load it, with room for it in the budget. Errors: ``ModelFailure``."""
        ...


class _Share:
    """A loaded model's part of the budget."""

    def __init__(self, model: Loadable, size: int) -> None:
        self.model = model
        self.size = size
        self.users = 0
        self.settled = False
        """Whether a use has ended, so that what the process takes by now is what it takes."""
        self.marked = False
        """Somebody waits for its place: it may finish what it does and begins nothing."""
        self.retired = False
        """Nobody will use it again: it goes with its last user."""
        self.going: asyncio.Task[None] | None = None
        self.idle = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None

    def measure(self) -> None:
        """Count what the process really takes, where the system tells."""
        measured = resident(self.model.pid)
        if measured:
            self.size = measured if self.settled else max(self.size, measured)


class _Ticket:
    """Somebody in the queue; ``share`` once it has been let in, counted among the users already."""

    def __init__(self, model: Loadable) -> None:
        self.model = model
        self.called = asyncio.Event()
        self.share: _Share | None = None


class Use:
    """Somebody's use of a loaded model."""

    def __init__(self, budget: "MemoryBudget", share: _Share) -> None:
        self._budget = budget
        self._share = share

    async def stream(self, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """``source``, with the model in use until it ends or is closed. Begun before this use ends, it does not queue:
        a part of a request never waits for somebody who waits for the request.
        """
        async with self._budget.use(self._share.model, beside=self._share), aclosing(source):
            async for item in source:
                yield item


class MemoryBudget:
    """``limit`` bytes for all models that take part; ``idle`` seconds until an unused one is unloaded (0: never).

    A model in use is never unloaded. Whoever needs room waits in order of arrival: the first in the queue chooses who
    has to go, and these take on no new work until it has been let in, so that a busy model cannot keep the others out.
    All who wait for a model come in with the first of them, so that two models do not take turns request by request.
    """

    def __init__(self, limit: int, *, idle: float = 0.0) -> None:
        self.limit = limit
        self._idle = idle
        self._shares: dict[Loadable, _Share] = {}
        """The least recently used first."""
        self._measured: dict[Loadable, int] = {}
        self._queue: deque[_Ticket] = deque()

    @asynccontextmanager
    async def use(self, model: Loadable, *, beside: _Share | None = None) -> AsyncIterator[Use]:
        """Have room for a model; it is loaded by whoever uses it, if it is not.

        Errors: ``ModelFailure`` 503 when it can never fit, or when no room was made in ``WAIT_S``.
        """
        if beside is not None and beside.users:
            share = self._take(beside)
        else:
            share = await self._enter(model)
        try:
            yield Use(self, share)
        finally:
            self._leave(share)

    async def has_room(self, model: Loadable) -> bool:
        """Whether a model could be loaded now without another one's going."""
        return model in self._shares or await self._need(model) <= self._free()

    async def preload(self, models: Sequence[Preloadable]) -> None:
        """Load now what has room beside what is loaded, in the order given, and the first one in any case.
        ``ModelFailure`` when one cannot be.
        """
        for number, model in enumerate(models):
            if not number or await self.has_room(model):
                await model.load()

    def retire(self, model: Loadable) -> None:
        """Unload a model for good, once its last use has ended; another one stands in its place."""
        self._measured.pop(model, None)
        if (share := self._shares.get(model)) is not None:
            share.retired = True
            if not share.users:
                self._unload(share, "replaced")

    async def close(self) -> None:
        """Wait until what is being unloaded is gone. Whoever owns the models ends the rest."""
        for share in list(self._shares.values()):
            if share.timer is not None:
                share.timer.cancel()
            if share.going is not None:
                await share.going

    async def _enter(self, model: Loadable) -> _Share:
        """The model's share, which is there at once or after a time in the queue."""
        if (found := self._open_share(model)) is not None:
            return self._take(found)
        need = await self._need(model)
        ticket = _Ticket(model)
        self._queue.append(ticket)
        try:
            async with asyncio.timeout(WAIT_S):
                return await self._wait(ticket, need)
        except BaseException as error:
            if ticket.share is not None:  # Let in at the moment when it stopped waiting.
                self._leave(ticket.share)
            if isinstance(error, TimeoutError):
                raise self._no_room(model) from None
            raise
        finally:
            first = self._queue[0] is ticket
            self._queue.remove(ticket)
            if first:
                self._call()

    async def _wait(self, ticket: _Ticket, need: int) -> _Share:
        while ticket.share is None:
            if (found := self._open_share(ticket.model)) is not None:
                ticket.share = self._take(found)
            elif self._queue[0] is ticket:
                await self._let_in(ticket.model, need)
            else:
                await ticket.called.wait()
                ticket.called.clear()
        return ticket.share

    def _take(self, share: _Share) -> _Share:
        share.users += 1
        share.idle.clear()
        if share.timer is not None:
            share.timer.cancel()
        self._shares[share.model] = self._shares.pop(share.model)
        return share

    def _open_share(self, model: Loadable) -> _Share | None:
        share = self._shares.get(model)
        return share if share is not None and not share.marked and share.going is None else None

    def _call(self) -> None:
        for ticket in self._queue:
            ticket.called.set()

    async def _let_in(self, model: Loadable, need: int) -> None:
        """Make room for the first in the queue, and let in all who wait for the same model."""
        own = self._shares.get(model)
        if own is not None and own.going is not None:
            await asyncio.shield(own.going)
        leaving = self._leaving(need)
        for share in leaving:
            share.marked = True
        try:
            for share in leaving:
                if share.users:
                    await share.idle.wait()
                await asyncio.shield(self._unload(share, f"to make room for {model.name}"))
        finally:
            for share in leaving:
                share.marked = False
        self._shares[model] = share = _Share(model, need)
        self._tell(model.name)
        for ticket in self._queue:
            if ticket.model is model:
                ticket.share = self._take(share)
                ticket.called.set()

    async def _need(self, model: Loadable) -> int:
        estimate = await model.estimate()
        if estimate > self.limit:
            raise ModelFailure(
                f"The model `{model.name}` takes about {_gb(estimate)} of memory, and the models on this machine may "
                f"have {_gb(self.limit)} together (setting local_memory, EVERLOOM_LOCAL_MEMORY). Raise it, lower "
                "local_context or local_slots, or choose a smaller model.",
                status=503,
            )
        return min(self._measured.get(model, estimate), self.limit)

    def _free(self) -> int:
        for share in self._shares.values():
            share.measure()
            self._tell(share.model.name)
        return self.limit - sum(share.size for share in self._shares.values())

    def _leaving(self, need: int) -> list[_Share]:
        """Who has to go for so many bytes: who is going already, the idle by their last use, and then the rest."""
        free = self._free()
        chosen = []
        for share in sorted(self._shares.values(), key=lambda share: (share.going is None, share.users > 0)):
            if free >= need:
                break
            chosen.append(share)
            free += share.size
        return chosen

    def _leave(self, share: _Share) -> None:
        share.users -= 1
        share.settled = share.model.pid is not None
        if share.users:
            return
        share.idle.set()
        if share.model.pid is None:  # It did not load, or has died: nothing is there to be counted.
            self._forget(share)
        elif share.retired:
            self._unload(share, "replaced")
        elif self._idle and share.going is None:
            share.timer = asyncio.get_running_loop().call_later(self._idle, self._expire, share)

    def _expire(self, share: _Share) -> None:
        if not share.users and self._shares.get(share.model) is share:
            self._unload(share, f"unused for {self._idle:g} s")

    def _unload(self, share: _Share, why: str) -> asyncio.Task[None]:
        """Begun, it is finished, whoever waits for it: half an unloading would lose the process."""
        if share.going is None:
            share.going = asyncio.create_task(self._end(share, why))
        return share.going

    async def _end(self, share: _Share, why: str) -> None:
        share.measure()
        if not share.retired:
            self._measured[share.model] = share.size
        _log.info("unloading %s (%s): %s", share.model.name, _gb(share.size), why)
        try:
            await share.model.unload()
        except Exception:
            _log.exception("unloading %s failed", share.model.name)
        finally:
            self._forget(share)

    def _forget(self, share: _Share) -> None:
        if self._shares.get(share.model) is share:
            del self._shares[share.model]
            self._tell(share.model.name)
        self._call()

    def _tell(self, name: str) -> None:
        """Show what is counted for a model; its next process may be there before its last has gone."""
        sizes = [share.size for share in self._shares.values() if share.model.name == name]
        if sizes:
            _bytes.labels(name).set(sum(sizes))
        else:
            with contextlib.suppress(KeyError):
                _bytes.remove(name)

    def _no_room(self, model: Loadable) -> ModelAway:
        busy = ", ".join(share.model.name for share in self._shares.values() if share.users)
        return ModelAway(
            f"The model `{model.name}` found no room in {WAIT_S:.0f} s: the models on this machine may have "
            f"{_gb(self.limit)} of memory together (setting local_memory, EVERLOOM_LOCAL_MEMORY), and {busy} did not "
            "come to an end.",
            status=503,
        )


def budget_of_machine() -> int:
    """Bytes for models where no setting says how many."""
    return max(LEAST, int(available() * SHARE))


def available() -> int:
    """Bytes of memory that could be taken now: the machine's, or what is left to this container. 0: it is not told."""
    return min((room for room in (_of_machine(), _of_container()) if room is not None), default=0)


def resident(pid: int | None) -> int:
    """Bytes of memory that a process takes; 0 for one that has gone."""
    with contextlib.suppress(psutil.Error):
        return 0 if pid is None else int(psutil.Process(pid).memory_info().rss)
    return 0


def _of_machine() -> int | None:
    # psutil raises RuntimeError where a system has no such figure: then no budget is known, which callers expect.
    with contextlib.suppress(psutil.Error, OSError, RuntimeError):
        return int(psutil.virtual_memory().available)
    return None


def _of_container() -> int | None:
    """What a control group (version 2) leaves us, of which psutil does not know. Caches of files, which the group
    counts too, are given back at need.
    """
    try:
        most = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        counted = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return max(0, most - used + int(counted.get("inactive_file", 0)))
    except (OSError, ValueError):  # none, or "max"
        return None


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
