"""A model's server that is away while a run needs it: the run waits, and lives."""

import asyncio

from everloom.kit.backoff import Backoff
from everloom.kit.errors import ModelAway
from everloom.kit.log import outage
from everloom.objects.runs import RunError

MOST_BROKEN = 4
"""Answers of one round that may break off in the middle: what breaks off each time may well be what ends its server."""


class ModelPatience:
    """How one run waits. Its deadline and its cancellation are others' affair, who cut the waiting short."""

    def __init__(self) -> None:
        self._backoff = Backoff()
        self._broken = 0
        self.error: RunError | None = None
        """Why there is no answer yet, while there is none."""

    async def wait(self, run_id: str, away: ModelAway) -> None:
        """Let some time pass. Errors: ``away`` itself, where another try is not worth it."""
        self._broken += away.midway
        if self._broken >= MOST_BROKEN:
            raise away
        self.error = RunError(code="server_error", message=away.message)
        outage(f"run {run_id}", away)
        await asyncio.sleep(self._backoff.pause())

    def answered(self) -> None:
        """The model has answered to the end."""
        self._backoff.renew()
        self._broken, self.error = 0, None
