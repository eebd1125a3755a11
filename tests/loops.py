"""Tests that are coroutines, each on a loop of its own."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


def on_a_loop(check: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The test that a coroutine function is."""

    @functools.wraps(check)
    def test(*given: P.args, **more: P.kwargs) -> None:
        asyncio.run(check(*given, **more))

    return test
