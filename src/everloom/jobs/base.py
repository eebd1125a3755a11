"""The jobs' port: call a function for a key, and call it again after a crash until it has returned once.

A job is begun by a write of the store (``Start``), which keeps it in the outbox together with what there is to see. An
engine takes it from there; it keeps no state of the job, whose function finds in the store how far it is (durable by
re-entry). Adapters: ``embedded.py`` (SQLite, one process) and ``dbos.py`` (PostgreSQL, many); contract suite:
``tests/contracts/test_jobs.py``.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from everloom.objects.jobs import Backlog, Job, JobsLoad, Lane

JobFunction = Callable[[str, str], Awaitable[None]]
"""Takes the project's id and the job's key. To return is to be done; to raise is to have failed for good, but for
``Unavailable``: then it is called again until what was away is back.
"""

CONCURRENCY: Mapping[Lane, int] = {"live": 64, "background": 4, "batch": 16, "outgoing": 64, "training": 1}
"""Jobs that one process has in hand at a time. Those of the background take a processor each, or a model's time. One of
a batch waits for models most of the time. One that trains takes a device whole.
"""

AT_HOME: Mapping[Lane, int] = {"batch": 2}
"""How many a process may have in hand and still take what it has started itself, at once, where those are fewer: behind
them it goes to whoever has room. So processes share a batch.
"""


class Outbox(Protocol):
    """Where started jobs stand until they are done; the store's ``Database`` is one."""

    async def waiting(self, lane: Lane, limit: int) -> list[Job]:
        """The oldest jobs of a lane that are not done."""
        ...

    async def backlog(self) -> dict[Lane, Backlog]:
        """How many there are of each lane that has any, and since when."""
        ...

    async def done(self, ids: Sequence[str]) -> None:
        """Strike jobs off; one that is not there is no error."""
        ...


class CallWatch(Protocol):
    async def wait(self, timeout: float) -> bool:
        """Wait for a call, ``timeout`` seconds at most; whether one came."""
        ...


class Calls(Protocol):
    """How processes tell each other that a queue has something; the ``Bus`` is one. A call may be lost."""

    def wake(self, topic: str) -> None:
        """Wake whoever watches ``topic``, in every process; from any thread."""
        ...

    def watch(self, topic: str) -> AbstractContextManager[CallWatch]:
        """Watch from the moment the context is entered."""
        ...


class Jobs(Protocol):
    async def launch(self, functions: Mapping[str, JobFunction], *, work: bool) -> None:
        """Open the engine; with ``work``, take up what stands in the outbox and serve new jobs of these kinds."""
        ...

    def notice(self, jobs: Sequence[Job]) -> None:
        """Hear of jobs that this process has kept, so that they need not wait to be found. From any thread; at any
        time, before ``launch`` and after ``stop`` too. Never raises.

        Of a key there is one execution at a time in a process. A job that comes while its key is executed has it
        looked at once more afterwards, whatever the one under way has seen.
        """
        ...

    async def load(self) -> JobsLoad:
        """What waits and is in hand, and who works, in all processes on the database: a look that costs a statement or
        two. Before ``launch`` has returned nobody is known to work.
        """
        ...

    async def stop(self, grace: float) -> None:
        """Take nothing new; let jobs in hand go on for ``grace`` seconds, leave the rest for the next worker."""
        ...
