"""Everloom that asks nobody who they are and counts nothing: what governing costs is the difference.

``POST /benchmark/chat`` is ``POST /v1/chat/completions`` without a key; no reservation is made, no row is entered.
"""

import argparse
import sys
from pathlib import Path

from everloom.api import chat
from everloom.api.http.routes import EventStream, Request, Routes
from everloom.app import App, build
from everloom.app.http import ROUTES
from everloom.cli.serve import run_serve
from everloom.config import Settings, load
from everloom.context import Context

routes = Routes(access="open")


@routes.post("/benchmark/chat")
async def create_chat_completion(ctx: Context, call: Request, body: bytes) -> bytes | EventStream:
    """createChatCompletion, for anyone."""
    return await chat.create_chat_completion(ctx, call, body)


def _ungoverned(settings: Settings) -> App:
    app = build(settings, (*ROUTES, *routes))
    app.ports.gate.meter.on_record = lambda record: None
    app.ports.gate.admission.open = lambda *_: None  # It stays as it is before it is opened.
    return app


def main() -> None:
    """``everloom serve``, with this route too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    sys.exit(run_serve(load({"data": given.data, "port": given.port}, file=None), _ungoverned))


if __name__ == "__main__":
    main()
