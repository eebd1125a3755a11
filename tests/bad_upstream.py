"""An upstream that answers with the very bytes that a test wants, status line and all."""

import contextlib
import socketserver
import threading
from collections.abc import Iterator


class BadUpstream(socketserver.ThreadingTCPServer):
    """Answers every request with ``head``, then the bodies one after the other, and closes the connection."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.head = b""
        self.bodies: list[bytes] = []
        self.pause = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def says(
        self,
        *bodies: bytes,
        kind: bytes = b"application/json",
        status: bytes = b"200 OK",
        pause: float = 0.0,
        more: int = 0,
    ) -> None:
        """``pause`` seconds between two bodies; a length of ``more`` bytes than there are."""
        length = sum(map(len, bodies)) + more
        self.head = b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (status, kind, length)
        self.bodies, self.pause = list(bodies), pause


class _Request(socketserver.StreamRequestHandler):
    server: BadUpstream

    def handle(self) -> None:
        length = chunked = 0
        while (line := self.rfile.readline().strip().lower()) != b"":
            length = int(line.partition(b":")[2]) if line.startswith(b"content-length") else length
            chunked = chunked or line.startswith(b"transfer-encoding")
        self.rfile.read(length)
        while chunked and (size := int(self.rfile.readline() or b"0", 16)):
            self.rfile.read(size + 2)
        self.wfile.write(self.server.head)
        for body in self.server.bodies:
            self.wfile.write(body)
            self.wfile.flush()
            threading.Event().wait(self.server.pause)


@contextlib.contextmanager
def bad_upstream() -> Iterator[BadUpstream]:
    """One that serves as long as the block lasts."""
    with BadUpstream() as upstream:
        thread = threading.Thread(target=upstream.serve_forever)
        thread.start()
        yield upstream
        upstream.shutdown()
        thread.join()
