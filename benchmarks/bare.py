"""The least an HTTP server in Python can be: the same server program and event loop, an application of one answer."""

import asyncio
import socket
from typing import Any

import uvicorn
import uvloop


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer anything with two bytes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        print(f"bare: ready on http://127.0.0.1:{sockets[0].getsockname()[1]}/v1", flush=True)


def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, loop="none", http="httptools", ws="none", lifespan="off", log_config=None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
