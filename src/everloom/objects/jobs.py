"""Jobs: what somebody has to look at. Stored with the objects they are about, never shown."""

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
