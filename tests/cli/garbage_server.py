"""Everloom with routes more that make objects which only hold each other, and say how many of them are still there."""

import argparse
import gc
import json
import sys
import weakref
from pathlib import Path

from everloom.api.http.routes import Request, Routes
from everloom.app import build
from everloom.app.http import ROUTES
from everloom.cli.serve import run_serve
from everloom.config import load
from everloom.kit.errors import BadRequest

routes = Routes(access="open")
watched: list[weakref.ref["Holder"]] = []


class Holder:
    """Something to be watched, with what it holds."""

    def __init__(self, held: object = None) -> None:
        self.held = held
        watched.append(weakref.ref(self))


@routes.get("/garbage")
async def garbage() -> bytes:
    """How Python looks for garbage here, and how many of those watched are there."""
    alive = sum(one() is not None for one in watched)
    return json.dumps(
        {"enabled": gc.isenabled(), "thresholds": gc.get_threshold(), "frozen": gc.get_freeze_count(), "alive": alive}
    ).encode()


@routes.post("/circles")
async def circles(body: bytes) -> bytes:
    """So many that hold themselves."""
    for _ in range(int(body)):
        one = Holder()
        one.held = one
    return b"{}"


@routes.post("/bodies")
async def bodies(body: bytes) -> bytes:
    """A body, taken and let go of."""
    return b"{}"


@routes.post("/refused")
async def refused(body: bytes) -> bytes:
    """An error that the frame knows which raises it, and with it what the frame holds."""
    kept = Holder(body)
    fault = BadRequest(f"{kept!r} is not wanted")
    raise fault


@routes.post("/itself")
async def itself(request: Request) -> bytes:
    """A request that is one of its own arguments."""
    request.raw_body = await request.read(1000)
    request.arguments["kept"] = Holder(request)
    return b"{}"


def main() -> None:
    """``everloom serve``, with these routes too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    settings = load({"data": given.data, "port": given.port}, file=None)
    sys.exit(run_serve(settings, lambda settings: build(settings, (*ROUTES, *routes))))


if __name__ == "__main__":
    main()
