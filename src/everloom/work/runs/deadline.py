"""A run's deadline: ``expires_at``, counted by a clock that does not jump (``kit/deadlines.py``)."""

import math

from everloom.context import Ports
from everloom.objects.runs import Run

RUNS = "run"
"""What ``Deadlines`` calls them."""


def seconds_left(ports: Ports, project: str, run: Run) -> float:
    """How long a run still has; 0 or less once it is overdue."""
    if run.expires_at is None:
        return math.inf
    return ports.deadlines.left(RUNS, (project, run.id), run.expires_at, run.expires_at - run.created_at)
