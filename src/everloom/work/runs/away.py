"""A model's server that is away while a run needs it: the run waits, and lives.

It waits a moment where it is, and then in nobody's place: a job that is put off looks again. So how often it has waited
stands in its lease (docs/decisions/away-models.md).
"""

import asyncio

from everloom.kit.backoff import Backoff
from everloom.kit.errors import ModelAway
from everloom.kit.log import outage
from everloom.objects.runs import RunError, RunLease
from everloom.store.base import Change, Operation, Start

MOST_BROKEN = 4
"""Answers of one round that may break off: what breaks off each time may well be what ends its server."""

BROKEN_PAUSE = 2.0
"""Seconds, times how often it has happened: a server that starts again takes its time."""

IN_PLACE = 1.0
"""Seconds of a pause that is too short to let go of the run."""


class ModelPatience:
    """How one run waits. ``job`` is the kind of job that takes it up again."""

    def __init__(self, job: str, lease: RunLease) -> None:
        self._job = job
        self._run_id = lease.id
        self._kept = self._tries = lease.tries
        self._broken = lease.broken
        self.error = RunError(code="server_error", message=lease.waits_for) if lease.waits_for else None
        """Why there is no answer yet, while there is none."""

    async def wait(self, away: ModelAway) -> list[Operation]:
        """Let a moment pass; or what puts the run off. Errors: ``away`` itself, where another try is not worth it."""
        self._tries += 1
        self._broken += away.reached
        if self._broken >= MOST_BROKEN:
            raise away
        self.error = RunError(code="server_error", message=away.message)
        outage(f"run {self._run_id}", away)
        pause = Backoff(self._tries).pause()
        if away.reached:
            pause = max(pause, BROKEN_PAUSE * self._broken)
        if pause > IN_PLACE:
            return [self._keep(), Start(self._job, self._run_id, after=pause)]
        await asyncio.sleep(pause)
        return []

    def answered(self) -> list[Operation]:
        """The model has answered to the end: what is to be kept of that."""
        waited = self._kept > 0
        self._kept = self._tries = self._broken = 0
        self.error = None
        return [self._keep()] if waited else []

    def _keep(self) -> Change[RunLease]:
        tries, broken, waits_for = self._tries, self._broken, self.error.message if self.error else ""

        def edit(lease: RunLease) -> None:
            lease.tries, lease.broken, lease.waits_for = tries, broken, waits_for

        return Change(RunLease, self._run_id, edit)
