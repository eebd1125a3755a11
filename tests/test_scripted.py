"""The scripted inference server ends as a process does that is killed: nobody is left with an open connection."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx
from aiohttp import web

from tests.scripted import Request, ScriptedUpstream


def test_who_connects_as_it_closes_is_not_left_waiting() -> None:
    """Both while its loop is busy: the socket is accepted in the very turn in which the end begins."""
    busy, go_on = threading.Event(), threading.Event()

    def hold(_: Request) -> web.Response:
        busy.set()
        go_on.wait(30)
        return web.Response()

    def knock() -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(f"{upstream.url}/hold", json={}, timeout=30)

    with ScriptedUpstream() as upstream:
        upstream.serve("/hold", hold)
        knocking = threading.Thread(target=knock)
        knocking.start()
        assert busy.wait(30)
        with socket.create_connection(("127.0.0.1", urlsplit(upstream.url).port or 0), timeout=30) as late:
            closing = threading.Thread(target=upstream.close)
            closing.start()
            time.sleep(0.2)  # It has asked for the end by then, mostly; where it has not, there is nothing to see.
            go_on.set()
            closing.join()
            late.sendall(b"POST /v1/embeddings HTTP/1.1\r\n")
            late.settimeout(10)
            with contextlib.suppress(ConnectionError):
                assert late.recv(1) == b""
        knocking.join()
