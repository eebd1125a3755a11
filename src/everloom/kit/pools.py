"""Pools of connections to a PostgreSQL that may say nothing any more."""

import asyncio
from typing import Any

ACQUIRE_SECONDS = 10.0
"""How long to wait for a connection while others have them all: behind that it is an outage."""

CLOSE_SECONDS = 5.0


async def close_pool(pool: Any) -> None:
    """Close an asyncpg pool when its connections have been given back, or without that where it takes too long."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except TimeoutError:
        pool.terminate()
