"""Jobs: what somebody has to look at. Stored with the objects they are about, never shown."""

from typing import Literal

from msgspec import Struct

Lane = Literal["live", "background"]
"""``live``: somebody waits for it. ``background``: it takes as long as it takes, and never stands in front of those."""


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
