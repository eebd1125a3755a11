"""The end of something long that comes in blocks."""


class Tail:
    """Keeps the last ``size`` bytes. To join what is kept with each block would be a part of what a chunk costs, so it
    is done when twice as much has come.
    """

    __slots__ = ("_blocks", "_bytes", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._blocks: list[bytes] = []
        self._bytes = 0

    def add(self, block: bytes) -> None:
        """Take what comes next."""
        self._blocks.append(block)
        self._bytes += len(block)
        if self._bytes > 2 * self._size:
            self._blocks = [self.end()]
            self._bytes = len(self._blocks[0])

    def end(self) -> bytes:
        """The end of what has come."""
        return b"".join(self._blocks)[-self._size :]
