"""How far an import or an export is, on a terminal's standard error; elsewhere it is said only what it waits for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """A bar for each step of the work, which begins with the first that is told of it."""

    def __init__(self, bars: "Progress | None") -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def tell(self, step: str, done: int, total: int | None = None) -> None:
        """A step is so far."""
        if self._bars is None:
            return
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)

    def note(self, text: str) -> None:
        """Something to know while it goes on, in a line of its own."""
        if self._bars is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress() -> Iterator[Bars]:
    """Bars while the work goes on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Bars(None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        *(BarColumn(), TaskProgressColumn(show_speed=True), TextColumn("{task.completed:,}"), TimeRemainingColumn()),
    )
    with Progress(*columns, console=console) as bars:
        yield Bars(bars)
