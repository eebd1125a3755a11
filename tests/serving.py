"""The HTTP floor over real sockets with a database of its own, for tests of operations that need models and no jobs."""

import asyncio
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import uvicorn

from everloom.api.http.routes import Route
from everloom.api.http.server import Server
from everloom.app.http import build_server
from everloom.bus.memory import MemoryBus
from everloom.context import Ports, ServerLimits
from everloom.context.known_rules import KnownRules
from everloom.context.tuned_models import TunedModels
from everloom.models.registry import Models
from everloom.store.base import SYSTEM
from everloom.store.sqlite import SqliteDatabase
from everloom.work.organization import establishing

KEY = "sk-test-serving"


class Serving:
    """``with Serving(folder, models, routes) as server:`` answers at ``server.url`` for the key ``KEY``."""

    def __init__(self, folder: Path, models: Models, routes: Iterable[Route]) -> None:
        self.url = ""
        self._folder = folder
        self._models = models
        self._routes = routes
        self._server: uvicorn.Server | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)

    def __enter__(self) -> "Serving":
        self._thread.start()
        self._ready.wait(20)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(20)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        database = SqliteDatabase(self._folder / "serving.db", synchronous="NORMAL")
        await database.open()
        await establishing.first_start(database, api_key=KEY)
        await self._models.open()
        # These operations reach neither jobs, blobs, vectors nor sandboxes.
        nowhere: Any = None
        ports = Ports(
            database=database,
            bus=MemoryBus(),
            jobs=nowhere,
            blobs=nowhere,
            models=self._models,
            vectors=nowhere,
            sandboxes=nowhere,
            limits=ServerLimits(),
            rules=KnownRules(database.store(SYSTEM)),
            tuned=TunedModels(nowhere, self._folder),
        )
        try:
            await self._listen(build_server(ports, self._routes))
        finally:
            await self._models.close()
            await database.close()

    async def _listen(self, app: Server) -> None:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False, timeout_graceful_shutdown=2)
            self._server = _Server(config, self._ready)
            await self._server.serve([listener])


class _Server(uvicorn.Server):
    """uvicorn that says when it accepts connections."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready.set()
