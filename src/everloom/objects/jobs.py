"""Jobs: what somebody has to look at. Stored with the objects they are about, never shown."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Lane = Literal["live", "background", "batch", "outgoing", "training"]
"""``live``: somebody waits for it. ``background``: it takes as long as it takes, and never stands in front of those.
``batch``: batches, which may take a day, and stand in front of nobody.
``outgoing``: it waits for other people's servers, most of its time, and for its turn in no line but of its like.
``training``: it has a device for hours, and waits for it as long.
"""


class Job(Struct, frozen=True):
    """That ``key`` of ``kind`` in ``project`` has to be looked at again. Several may say so of one key: one look
    answers all of those that stood before it began.
    """

    id: str
    project: str
    kind: str
    key: str
    lane: Lane

    @property
    def name(self) -> str:
        """What it is about, for logs and for telling keys apart."""
        return f"{self.kind}:{self.project}:{self.key}"


class Backlog(Struct, frozen=True):
    """How many jobs of a lane stand somewhere, and since when the oldest is to be looked at (Unix seconds)."""

    jobs: int
    since: float


class LaneLoad(Struct, frozen=True):
    """Jobs of a lane, in all processes: those that nobody has in hand, those that somebody has, and for how many
    seconds the oldest of the first has waited.
    """

    waiting: int = 0
    running: int = 0
    oldest: float = 0.0


class JobsLoad(Struct, frozen=True):
    """What all workers on a database have to do, and how many of them live."""

    lanes: Mapping[Lane, LaneLoad]
    workers: int
