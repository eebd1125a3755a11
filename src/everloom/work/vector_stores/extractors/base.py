"""What the readers share. A reader is ``read(file, unpacked) -> Iterator[str]``: whatever it needs from the disk is
imported or looked up by the time it returns, the reading happens in the iterator.
"""


class Unreadable(Exception):
    """What is wrong with a file, in words for the person who uploaded it."""
