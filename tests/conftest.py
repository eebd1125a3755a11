"""What most tests work with: a scripted upstream, a server before it, clients of that server.

One server of each kind serves the whole session, since it is a process of its own; tests keep apart
by making their own objects, and the upstream forgets its script between them.
"""

import os
from collections.abc import Iterator

import httpx
import pytest

from everloom.kit.secrets import SECRETS
from tests.fine_tuning import let_be_tuned
from tests.postgres import clean_up, fresh_database
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom, last_resorts
from tests.servers import http as client_of
from tests.weights import default_weights

WEIGHTS = default_weights().folder
"""Of the models that come with an install, for what the upstream is not asked for: moderations."""


MOST_WORKERS = 4
"""Processes that run tests, each with servers and models of its own, which take a gigabyte or two."""

PATIENCE_S = 60.0
"""How long a client of a test waits that names no time of its own. httpx would give a server five seconds, which a
busy machine has been seen to hold back longer; a test that is about time says which."""

for _phase in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _phase, PATIENCE_S)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors, since a worker spends much of its time with waiting."""
    return min((os.cpu_count() or 1) + 1, MOST_WORKERS)


def pytest_sessionfinish() -> None:
    """Fixtures are closed by now, and a worker is still given its time."""
    clean_up()


@pytest.fixture(autouse=True)
def _no_secrets_of_others() -> Iterator[None]:
    """What a test had the process hide is no secret of the next one's."""
    known = dict(vars(SECRETS))
    yield
    vars(SECRETS).update(known)


@pytest.fixture(scope="session")
def _upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(_upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The inference server behind the servers of the session, its script empty."""
    _upstream.reset()
    return _upstream


@pytest.fixture(scope="session")
def sqlite_server(_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server on SQLite."""
    folder = let_be_tuned(tmp_path_factory.mktemp("sqlite"), _upstream.url)
    with Everloom(folder, upstream=_upstream.url, embedding_model="scripted", weights=WEIGHTS) as server:
        yield server
        assert last_resorts(server) == 0


@pytest.fixture(scope="session")
def postgres_server(_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server on PostgreSQL that only answers, and a worker beside it that only works."""
    settings = {
        "upstream": _upstream.url,
        "database": fresh_database(),
        "embedding_model": "scripted",
        "weights": WEIGHTS,
    }
    folder = let_be_tuned(tmp_path_factory.mktemp("postgres"), _upstream.url)
    with (
        Everloom(folder, arguments=("--no-worker",), **settings) as server,
        Everloom(folder, command="worker", **settings) as worker,
    ):
        yield server
        assert not any("last resort" in line for line in worker.output)


@pytest.fixture
def server(sqlite_server: Everloom, upstream: ScriptedUpstream) -> Everloom:
    """The server for tests that do not care about the database."""
    return sqlite_server


@pytest.fixture(params=["sqlite", "postgres"])
def each_server(request: pytest.FixtureRequest, upstream: ScriptedUpstream) -> Everloom:
    """A server on either database, in turn."""
    found: Everloom = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def http(server: Everloom) -> Iterator[httpx.Client]:
    """A plain HTTP client that speaks the current form of the API."""
    with client_of(server) as client:
        yield client


@pytest.fixture
def old_http(server: Everloom) -> Iterator[httpx.Client]:
    """A plain HTTP client that speaks the first form of the Assistants API."""
    with client_of(server, beta="assistants=v1") as client:
        yield client
