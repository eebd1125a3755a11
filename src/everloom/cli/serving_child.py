"""One of the processes of ``serve --processes N``: what it is told by its parent, and what it tells."""

import asyncio
import contextlib
import os
import signal
import socket
from typing import NamedTuple

READY = b"r"
"""What a child says on its line once it accepts connections."""

ALIVE = b"?"
"""What it is asked there from then on, and gives back."""


class Place(NamedTuple):
    """The port to share, the how manieth child it is, the descriptor of a line to the parent, and a folder where all
    count together.
    """

    port: int
    number: int
    line: int
    metrics: str

    def told(self) -> str:
        """As an argument."""
        return f"{self.port}:{self.number}:{self.line}:{self.metrics}"

    @staticmethod
    def of(told: str) -> "Place":
        """What an argument says."""
        port, number, line, metrics = told.split(":", 3)
        return Place(int(port), int(number), int(line), metrics)

    def take(self) -> None:
        """To be called before anything that counts is imported: the Prometheus client looks for the folder then."""
        os.set_inheritable(self.line, False)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = self.metrics
        from prometheus_client import multiprocess, values

        # By its number, and not by the process's: so it goes on counting where the one before it ended, and one that
        # dies again and again does not fill the disk with what each had counted.
        multiprocess.mark_process_dead(self.number)  # type: ignore[no-untyped-call]  # it tells nothing of its types
        values.ValueClass = values.MultiProcessValue(lambda: self.number)  # type: ignore[no-untyped-call]  # as above

    def watch(self) -> None:
        """Give back what the parent sends, so that it knows that this loop turns, and end as by a signal once it is
        gone, however it went.
        """
        loop = asyncio.get_running_loop()

        def hear() -> None:
            try:
                if asked := os.read(self.line, 64):
                    os.write(self.line, asked)
                    return
            except OSError:
                pass  # It went without a word.
            loop.remove_reader(self.line)
            os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(self.line, hear)

    def ready(self) -> None:
        """Tell the parent that connections are accepted."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.line)) as line:
            line.send(READY)
