"""The blobs' port: bytes under a name, written once, read in pieces.

Adapter: ``obstore.py`` (a folder, memory or S3); contract suite: ``tests/contracts/test_blobs.py``.
"""

from collections.abc import AsyncIterator
from typing import Protocol


class DamagedBlob(Exception):
    """The bytes of a file are not those that were kept. Its text is for whoever wanted them.

    Not told by an adapter, which knows of no more than it has, but by who knows what there should be.
    """


class Blobs(Protocol):
    async def put(self, name: str, data: AsyncIterator[bytes]) -> int:
        """Keep the bytes, a block at a time; returns how many. When ``data`` raises, nothing is left behind."""
        ...

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes in blocks of a megabyte or so; ``FileNotFoundError`` where there are none."""
        ...

    async def remove(self, name: str) -> None:
        """Forget the bytes, and what a put of this name that was killed left; a name that is not there is no error."""
        ...
