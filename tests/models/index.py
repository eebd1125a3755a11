"""A package index on this machine: real HTTP, wheels made by the test, and downloads that can be made to hang."""

import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def wheel_of(package: str, members: Mapping[str, bytes]) -> bytes:
    """A wheel of version 1.0 that holds these members, whose declared dependency exists nowhere."""
    info = f"{package.replace('-', '_')}-1.0.dist-info/"
    told = {
        "METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: no-such-thing\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
        for name, text in told.items():
            wheel.writestr(info + name, text)
    return written.getvalue()


class Index:
    """``wheels`` by package. ``asked`` has the wheels that were downloaded. A download of ``hangs`` sends its
    first half and no more; ``hanging`` tells when. ``away``: every answer is a 500.
    """

    def __init__(self) -> None:
        self.wheels: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.hangs = ""
        self.hanging = threading.Event()
        self.away = False
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self.over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple"

    def environment(self) -> dict[str, str]:
        """The settings that have pip ask here and nowhere else, and give up at once."""
        here = {"PIP_INDEX_URL": self.url, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}
        return here | {"PIP_CONFIG_FILE": "/dev/null", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        """The list of one package's wheels, or a wheel."""
        package = call.path.strip("/").split("/")[1]
        wheel = self.wheels.get(package)
        if self.away or wheel is None:
            call.send_error(500 if self.away else 404)
        elif call.path.endswith(".whl"):
            self.asked.append(package)
            self._send(call, "application/octet-stream", wheel, whole=package != self.hangs)
        else:
            name = f"{package.replace('-', '_')}-1.0-py3-none-any.whl"
            self._send(call, "text/html", f'<a href="/simple/{package}/{name}">{name}</a>'.encode())

    def _send(self, call: BaseHTTPRequestHandler, kind: str, body: bytes, *, whole: bool = True) -> None:
        call.send_response(200)
        call.send_header("content-type", kind)
        call.send_header("content-length", str(len(body)))
        call.end_headers()
        call.wfile.write(body if whole else body[: len(body) // 2])
        if not whole:
            call.wfile.flush()
            self.hanging.set()
            self.over.wait()


@contextmanager
def serving() -> Iterator[Index]:
    """The index while it serves."""
    index = Index()
    thread = threading.Thread(target=index.server.serve_forever)
    thread.start()
    try:
        yield index
    finally:
        index.over.set()
        index.server.shutdown()
        index.server.server_close()
        thread.join()
