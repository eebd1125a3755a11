"""The jobs' port: call a function for a key, and call it again after a crash until it has returned once.

A job keeps no state with the engine: its function finds in the store how far it is (durable by
re-entry). Adapter: ``dbos.py``; contract suite: ``tests/contracts/test_jobs.py``.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

JobFunction = Callable[[str, str], Awaitable[None]]
"""Takes the project's id and the job's key. To return is to be done; to raise is to have failed for good."""


class Jobs(Protocol):
    async def launch(self, functions: Mapping[str, JobFunction], *, work: bool) -> None:
        """Open the engine; with ``work``, take up stranded jobs and serve new ones of these kinds."""
        ...

    async def start(self, kind: str, project: str, key: str) -> None:
        """Have ``functions[kind](project, key)`` run, here at once if this process works, else by a worker.

        Durable when it returns. A second start of the same kind and key does nothing, whether the
        first is still going or has ended.
        """
        ...

    async def stop(self, grace: float) -> None:
        """Take nothing new; let jobs in hand go on for ``grace`` seconds, leave the rest for the next worker."""
        ...
