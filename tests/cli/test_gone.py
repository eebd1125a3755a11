"""Who is told that a client has left, on a connection that nobody reads but for that."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from everloom.api.http.routes import ClientGone, Request
from everloom.cli.gone import Gone
from tests.loops import on_a_loop


def asked(gone: Gone) -> Request:
    """A request on the connection that ``gone`` is of."""
    scope: MutableMapping[str, Any] = {
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": [],
    }
    gone.offer(scope)
    nothing: Any = None
    return Request(scope, nothing, nothing, nothing)


@on_a_loop
async def test_work_ends_when_the_client_leaves() -> None:
    gone = Gone(FlowControl(asyncio.Transport()))
    request = asked(gone)
    asyncio.get_running_loop().call_soon(gone.tell)
    with pytest.raises(ClientGone):
        await request.unless_gone(asyncio.sleep(60))
    await asyncio.sleep(0)  # Nothing is ended behind it.


@on_a_loop
async def test_work_for_a_client_that_has_left_ends_where_it_waits() -> None:
    gone = Gone(FlowControl(asyncio.Transport()))
    gone.tell()
    with pytest.raises(ClientGone):
        await asked(gone).unless_gone(asyncio.sleep(60))


@on_a_loop
async def test_work_that_is_done_at_once_leaves_what_follows_alone() -> None:
    """Who has left is told of when the work is over: what closes behind it must not be ended instead."""
    gone = Gone(FlowControl(asyncio.Transport()))
    gone.tell()

    async def at_once() -> str:
        return "done"

    assert await asked(gone).unless_gone(at_once()) == "done"
    for _ in range(3):
        await asyncio.sleep(0)
    me = asyncio.current_task()
    assert me is not None
    assert not me.cancelling()
