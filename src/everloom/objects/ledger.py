"""The ledger: what was used, a row each, and what its sums are asked for. Rows are columns, never bodies."""

import random
import time
from typing import Any, Literal

from msgspec import Struct, field

UsageKind = Literal[
    "chat", "complete", "embed", "moderate", "draw", "speak", "transcribe", "search", "session", "storage"
]
"""A capability of models; or a file search, a code interpreter session, bytes in vector stores."""

MINUTE, HOUR, DAY = 60, 3600, 86_400


def new_entry_id() -> int:
    """A fresh id: it need not be secret, only another one in every process. Those of a second lie about in the order in
    which they were made, so that rows that are written together stand on few pages.
    """
    return time.time_ns() // 1_000_000 % 1000 << 53 | random.getrandbits(53)


class LedgerRow(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What one request, tool call or sample has used. A row that is entered twice (the same ``at`` and ``id``) is one.

    ``at`` is the Unix second in which it ended. ``requests`` counts requests to models, searches, sessions; ``bytes``
    are those that a project's vector stores take in the hour that begins ``at``. ``estimated``: nobody has counted the
    tokens. So would be entered what a killed process had reserved and not settled.
    """

    at: int
    id: int = field(default_factory=new_entry_id)
    project: str
    kind: UsageKind
    key_id: str = ""
    user_id: str = ""
    model: str = ""
    batch: bool = False
    estimated: bool = False
    size: str = ""
    source: str = ""
    """Of images: what for. Of a file search: the vector store, where it was one."""
    requests: int = 1
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    images: int = 0
    characters: int = 0
    milliseconds: int = 0
    """Of audio that was transcribed or translated."""
    bytes: int = 0


DIMENSIONS = ("kind", "model", "project", "key_id", "user_id", "batch", "estimated", "size", "source")
"""What rows are told apart by, in the order in which the sums lie: what is most asked for can be read as it comes."""

MEASURES = (
    *("requests", "input_tokens", "cached_tokens", "output_tokens", "input_audio_tokens", "output_audio_tokens"),
    *("images", "characters", "milliseconds", "bytes"),
)
"""What is summed of them."""


class LedgerQuery(Struct, frozen=True, kw_only=True):
    """Sums of the rows from ``start`` on and before ``end``, in buckets of ``width`` seconds: UTC's minutes, hours or
    days.

    ``where``: the values that a dimension may have, by its name; ``group_by``: the dimensions to tell sums apart by;
    ``measures``: what is summed.
    """

    start: int
    end: int
    width: int
    kinds: tuple[UsageKind, ...]
    group_by: tuple[str, ...] = ()
    measures: tuple[str, ...] = MEASURES
    where: dict[str, list[Any]] = {}


class LedgerSum(Struct, frozen=True, kw_only=True):
    """The sums of one group in the bucket that begins at ``at``, a whole minute, hour or day. Booleans are 0 and 1."""

    at: int
    group: dict[str, Any]
    sums: dict[str, int]
