"""A batch followed to its end, with a bar on a terminal, or a line for each state where there is none."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from everloom.cli.client import Client, Json, ServerAway
from everloom.kit.backoff import Backoff
from everloom.objects.batches import TERMINAL

if TYPE_CHECKING:
    from rich.progress import Progress

LOOK_SECONDS = 0.5
"""How often a batch is looked at first; later it is less often."""

_LONGEST_LOOK = 2.0
_SLOWER = 1.1


def failed_lines(batch: Json) -> int:
    """How many lines of a batch have failed so far."""
    return int(batch["request_counts"]["failed"])


class Follower:
    """Follows one batch; ``batch_id`` is known once there is one."""

    def __init__(self) -> None:
        self.batch_id = ""

    async def follow(self, client: Client, batch: Json) -> Json:
        """The batch once it has ended. A server that is away is waited for. Errors: ``CommandError``."""
        self.batch_id = batch["id"]
        pause, backoff = LOOK_SECONDS, Backoff()
        with _display(self.batch_id) as display:
            display.show(batch)
            while batch["status"] not in TERMINAL:
                await asyncio.sleep(pause)
                try:
                    batch = await client.get(f"/batches/{self.batch_id}")
                except ServerAway:
                    display.away()
                    await asyncio.sleep(backoff.pause())
                    continue
                backoff.renew()
                pause = min(_SLOWER * pause, _LONGEST_LOOK)
                display.show(batch)
        return batch


class _Lines:
    """Tells on standard error that something has changed, for logs."""

    def __init__(self, batch_id: str, console: Any) -> None:
        self._batch_id = batch_id
        self._console = console
        self._said = ""

    def show(self, batch: Json) -> None:
        self._say(batch["status"])

    def away(self) -> None:
        self._say("waiting for the server, which is away")

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            self._console.print(f"{self._batch_id} {what}", markup=False, highlight=False, soft_wrap=True)


class _Bar:
    """How far a batch is: lines, those that failed, tokens, lines a second, and the time that is left."""

    def __init__(self, bars: "Progress") -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None, failed=0, tokens=0, speed_text="")

    def show(self, batch: Json) -> None:
        counts = batch["request_counts"]
        self._bars.update(
            self._task,
            description=batch["status"],
            completed=counts["completed"] + counts["failed"],
            total=counts["total"] or None,
            failed=counts["failed"],
            tokens=(batch.get("usage") or {}).get("total_tokens", 0),
        )
        speed = self._bars.tasks[0].speed
        self._bars.update(self._task, speed_text=f"{speed:,.1f} lines/s" if speed else "")

    def away(self) -> None:
        self._bars.update(self._task, description="server away, waiting")


@contextmanager
def _display(batch_id: str) -> "Iterator[_Bar | _Lines]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(batch_id, console)
        return
    texts = ("{task.fields[failed]:,} failed", "{task.fields[tokens]:,} tokens", "{task.fields[speed_text]}")
    columns = [TextColumn(text, markup=False) for text in ("{task.description}", *texts)]
    with Progress(
        columns[0], BarColumn(), MofNCompleteColumn(), *columns[1:], TimeRemainingColumn(), console=console
    ) as bars:
        yield _Bar(bars)
