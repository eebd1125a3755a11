"""``GET /openapi.json``: the document of what this server has."""

import asyncio
from collections.abc import Iterable
from functools import cache

import msgspec

from everloom.api.http.openapi import document
from everloom.api.http.routes import Route, Routes


def told(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The routes, and with them one that tells of all."""
    of_all = Routes(access="open")
    every = [*routes]

    @cache
    def written() -> bytes:
        return msgspec.json.encode(document([*every, *of_all]))

    @of_all.get("/openapi.json")
    async def get_openapi() -> bytes:
        """The document of the operations that this server has (OpenAPI 3.1). It is made when it is first asked for."""
        return await asyncio.to_thread(written)  # A tenth of a second, the first time.

    return (*every, *of_all)
