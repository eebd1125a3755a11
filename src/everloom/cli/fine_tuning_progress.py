"""A fine-tuning job followed to its end: its events as they come; on a terminal a bar, and the loss drawn."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from everloom.cli.client import Client, Json, ServerAway
from everloom.cli.tables import printable
from everloom.kit.backoff import Backoff
from everloom.objects.fine_tuning import TERMINAL

if TYPE_CHECKING:
    from rich.progress import Progress

LOOK_SECONDS = 0.5
_LONGEST_LOOK = 2.0
_SLOWER = 1.05
_EVENTS_AT_ONCE = 100

_LEVELS = "▁▂▃▄▅▆▇█"
_DRAWN = 32
"""Characters of the drawn loss."""


def drawn(losses: Sequence[float], width: int = _DRAWN) -> str:
    """Losses as a line of blocks, each the mean of its share of the steps; the highest is full."""
    if not losses:
        return ""
    share = max(1.0, len(losses) / width)
    count = min(width, len(losses))
    means = []
    for place in range(count):
        part = losses[int(place * share) : max(int(place * share) + 1, int((place + 1) * share))]
        means.append(sum(part) / len(part))
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_LEVELS[round((mean - low) / span * (len(_LEVELS) - 1))] for mean in means)


class JobFollower:
    """Follows one job; ``job_id`` is known once there is one."""

    def __init__(self) -> None:
        self.job_id = ""
        self._seen: set[str] = set()

    async def follow(self, client: Client, job: Json) -> Json:
        """The job once it has ended. A server that is away is waited for. Errors: ``CommandError``."""
        self.job_id = job["id"]
        pause, backoff = LOOK_SECONDS, Backoff()
        with _display() as display:
            while True:
                try:
                    ended = job["status"] in TERMINAL
                    for event in await self._new_events(client):
                        display.take(event)
                    display.show(job)
                    if ended:
                        return job
                    await asyncio.sleep(pause)
                    job = await client.get(f"/fine_tuning/jobs/{self.job_id}")
                except ServerAway:
                    display.away()
                    await asyncio.sleep(backoff.pause())
                    continue
                backoff.renew()
                pause = min(_SLOWER * pause, _LONGEST_LOOK)

    async def _new_events(self, client: Client) -> list[Json]:
        """Events that were not seen yet, oldest first; of a job that is joined late the last hundred."""
        found: list[Json] = []
        more: dict[str, str] = {}
        first = not self._seen
        while True:
            path = f"/fine_tuning/jobs/{self.job_id}/events"
            page = await client.get(path, limit=str(_EVENTS_AT_ONCE), **more)
            fresh = [event for event in page["data"] if event["id"] not in self._seen]
            found += fresh
            if first or len(fresh) < len(page["data"]) or not page["has_more"]:
                break
            more = {"after": page["data"][-1]["id"]}
        self._seen.update(event["id"] for event in found)
        return found[::-1]


class _Log:
    """Tells on standard error what has happened, a line an event."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._said = ""

    def take(self, event: Json) -> None:
        self._console.print(printable(event["message"]), markup=False, highlight=False, soft_wrap=True)

    def show(self, job: Json) -> None:
        self._said = job["status"]

    def away(self) -> None:
        if self._said != "away":
            self._console.print("waiting for the server, which is away")
        self._said = "away"


class _LossBar:
    """How far a job is, its loss so far drawn, and the time that is left. What is no step is a line above."""

    def __init__(self, bars: "Progress", console: Any) -> None:
        self._bars = bars
        self._console = console
        self._losses: list[float] = []
        self._task = bars.add_task("", total=None, loss="")

    def take(self, event: Json) -> None:
        if event["type"] != "metrics":
            self._console.print(printable(event["message"]), markup=False, highlight=False, soft_wrap=True)
            return
        data = event["data"]
        if (loss := data.get("train_loss")) is not None:
            self._losses.append(loss)
            shown = f"loss {loss:.3f} {drawn(self._losses)}"
            self._bars.update(self._task, completed=data["step"], total=data["total_steps"] or None, loss=shown)

    def show(self, job: Json) -> None:
        self._bars.update(self._task, description=job["status"])

    def away(self) -> None:
        self._bars.update(self._task, description="server away, waiting")


@contextmanager
def _display() -> "Iterator[_LossBar | _Log]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Log(console)
        return
    texts = [TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[loss]}")]
    with Progress(
        texts[0], BarColumn(bar_width=20), MofNCompleteColumn(), texts[1], TimeRemainingColumn(), console=console
    ) as bars:
        yield _LossBar(bars, console)
