"""Upkeep of the ledger: rows are added to the sums by hour and day, and what vector stores hold is written down."""

import asyncio
import hashlib
from collections import Counter

from everloom.context import Ports
from everloom.kit.clock import now
from everloom.objects.ledger import HOUR, LedgerRow
from everloom.objects.vector_stores import VectorStore

LOOK_SECONDS = 60.0
SAMPLE_SECONDS = 600.0
"""How long a store of a new project is in no sample; a project has one an hour, and each look reads all stores."""

LOOK_SHARE = 0.1
"""Of the time: at the most of the database's."""

_SETTLING = 120
"""Seconds after the end of an hour in which most of its last rows have come. Those that come later are added then."""

_ROLL_PAUSE = 0.05
"""Seconds between two transactions, in which others may write."""


async def roll(ports: Ports) -> None:
    """Add the rows of the hours that are over to the sums."""
    before = (now() - _SETTLING) // HOUR * HOUR
    rolled = await ports.database.ledger.roll(before)
    while rolled:
        await asyncio.sleep(_ROLL_PAUSE)
        rolled = await ports.database.ledger.roll(before)


async def sample(ports: Ports) -> None:
    """Enter how many bytes the vector stores of each project take, once for the hour that goes on now."""
    hour = now() // HOUR * HOUR
    bytes_of: Counter[str] = Counter()
    async for project, store in ports.database.walk(VectorStore):
        if store.status != "expired":
            bytes_of[project] += store.usage_bytes
    rows = [
        LedgerRow(at=hour, id=_id_of(project), project=project, kind="storage", requests=0, bytes=size)
        for project, size in bytes_of.items()
        if size
    ]
    if rows:
        await ports.database.ledger.append(rows)


def _id_of(project: str) -> int:
    """The same for every worker and every look in the hour, so that the first of them counts."""
    return int.from_bytes(hashlib.sha256(f"storage/{project}".encode()).digest()[:8], "big") >> 1
