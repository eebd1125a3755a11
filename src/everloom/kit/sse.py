"""Server-sent events: framing out, parsing in (WHATWG HTML, section 9.2)."""

from typing import NamedTuple


def frame(data: bytes, *, event: str | None = None, id: int | str | None = None) -> bytes:
    """One event as it goes over the wire. ``data`` is a single line (compact JSON has no newline).

    Its name stands first and its data behind that, as readers that were written by hand expect it; an id stands last.
    """
    head = b"" if event is None else b"event: %s\n" % event.encode()
    tail = b"" if id is None else b"id: %s\n" % str(id).encode()
    return head + b"data: " + data + b"\n" + tail + b"\n"


DONE = b"[DONE]"
KEEP_ALIVE = b": keep-alive\n"
"""A comment, for streams whose events have ids. No empty line behind it: SDKs that have seen an id take one for the end
of an event, and its missing data for JSON.
"""


class EventData:
    """Cuts blocks of bytes, split anywhere, into events: each its name (empty: none) and the lines of its data.

    For those who read what servers of all sorts send. ``feed`` gives every line at once, since some servers send no
    empty line between two events; one without data says where one stood. Errors: ``ValueError`` for a line longer than
    ``limit`` bytes.
    """

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._rest = b""
        self._limit = limit
        self._name = self._id = ""

    def feed(self, block: bytes, *, ended: bool = False) -> list["Line"]:
        """The lines that ``block`` completes; with ``ended`` the last one too, which may have no end."""
        lines = (self._rest + block).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = b"" if ended else lines.pop()
        if len(self._rest) > self._limit:
            raise ValueError(f"an event of more than {self._limit} bytes")
        found: list[Line] = []
        for line in [*lines, b""] if ended else lines:
            if line.startswith(b"data:"):
                found.append(Line(self._name, line[5:].strip()))
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode("utf-8", "replace")
            elif not line:
                found.append(Line(self._name, None, self._id))
                self._name = self._id = ""
            elif line.startswith(b"id:"):
                self._id = line[3:].strip().decode("utf-8", "replace")
        return found


class Line(NamedTuple):
    """A line of an event's data; ``data`` is None where the event ends, and its ``id`` known, which may stand last."""

    event: str
    data: bytes | None
    id: str = ""


class DataLines:
    """Cuts blocks of bytes, split anywhere, into the ``data`` payloads of the events in them.

    For events whose data is one line, of servers that keep to it; comments, ids and event names are passed over. A
    line longer than ``limit`` bytes raises ``ValueError``.
    """

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._rest = b""
        self._limit = limit

    def feed(self, block: bytes) -> list[bytes]:
        """The payloads that ``block`` completes."""
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > self._limit:
            raise ValueError(f"an event of more than {self._limit} bytes")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]
