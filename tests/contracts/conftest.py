"""The adapters that contract suites share."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from tests.contracts.adapters import Adapters, Opened


@pytest.fixture(scope="package")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapters]:
    """Open from their first test to the end of the contract suites."""
    with asyncio.Runner() as runner:
        made = Adapters(runner, partial(tmp_path_factory.mktemp, "adapter"))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def opened(request: pytest.FixtureRequest, adapters: Adapters) -> Opened:
    """The adapter that a test's mark ``of`` names."""
    return adapters.opened(*request.param)
