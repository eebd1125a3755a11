"""A client that leaves: as soon as its request has come as far as a test needs it to, and not by the clock.

A short timeout in its place leaves a busy server before it has asked anybody.
"""

import socket
import time
from collections.abc import Callable
from typing import Any

import httpx


def leaves(http: httpx.Client, path: str, once: Callable[[], bool], **request: Any) -> None:
    """Send what ``http.post(path, **request)`` would, and hang up ``once`` that is true."""
    asked = http.build_request("POST", path, **request)
    asked.read()
    head = f"POST {asked.url.raw_path.decode()} HTTP/1.1\r\n".encode()
    fields = b"".join(b"%s: %s\r\n" % pair for pair in asked.headers.raw)
    with socket.create_connection((asked.url.host, asked.url.port or 80), timeout=60) as connection:
        connection.sendall(head + fields + b"\r\n" + asked.content)
        until(once)


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for it. Errors: ``AssertionError`` when it does not come true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
