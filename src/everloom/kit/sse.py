"""Server-sent events: framing out, parsing in (WHATWG HTML, section 9.2)."""


def frame(data: bytes, *, event: str | None = None, id: int | str | None = None) -> bytes:
    """One event as it goes over the wire. ``data`` is a single line (compact JSON has no newline)."""
    head = b"" if id is None else b"id: %s\n" % str(id).encode()
    if event is not None:
        head += b"event: %s\n" % event.encode()
    return head + b"data: " + data + b"\n\n"


DONE = b"[DONE]"
KEEP_ALIVE = b": keep-alive\n\n"


class DataLines:
    """Cuts blocks of bytes, split anywhere, into the ``data`` payloads of the events in them.

    Only what inference servers send is understood: one ``data:`` line an event; comments, ids and
    event names are passed over. A line longer than ``limit`` bytes raises ``ValueError``.
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
