"""Models through HTTP."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from everloom.api import models
from everloom.models.registry import Models
from everloom.models.upstream.backend import UpstreamBackend
from everloom.objects.projects import Project
from everloom.store.base import SYSTEM
from everloom.store.sqlite import SqliteDatabase
from tests.scripted import ScriptedUpstream
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of
from tests.serving import KEY, Serving


@pytest.fixture
def sdk(tmp_path: Path) -> Iterator[openai.OpenAI]:
    with ScriptedUpstream(models=("gpt-4o", "o1")) as upstream:
        names = Models([], [("gpt-4-turbo", "gpt-4o"), ("old-*", "o1")], default=UpstreamBackend(upstream.url))
        with (
            Serving(tmp_path, names, models.routes) as server,
            openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0, _strict_response_validation=True) as client,
        ):
            yield client


def test_list(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["gpt-4o", "o1", "gpt-4-turbo"]


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4-turbo", "old-davinci"])
def test_retrieve(sdk: openai.OpenAI, name: str) -> None:
    model = sdk.models.retrieve(name)
    assert (model.id, model.object, model.created, model.owned_by) == (name, "model", 1_700_000_000, "scripted")


def test_retrieve_what_nobody_serves(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.models.retrieve("gpt-9")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("name", ["ft:123", "ft:gpt-4o:acme:mine:abc", "gpt-9", "org/model", "old-davinci"])
def test_what_is_not_there_cannot_be_deleted(sdk: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.models.delete(name)
    assert caught.value.body == {
        "message": f"The model '{name}' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4-turbo"])
def test_the_server_s_models_cannot_be_deleted(sdk: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="You have insufficient permissions for this operation"):
        sdk.models.delete(name)
    assert sdk.models.retrieve(name).id == name


# --- a model of some projects ----------------------------------------------------------------------------------------

SECRET = """
upstream = "{url}"

[aliases]
"nick" = "secret"

[[models]]
id = "secret"
backend = "upstream"
base_url = "{url}"
model = "gpt-4o"
projects = ["{project}"]

[[models]]
id = "o1*"
backend = "upstream"
base_url = "{url}"
projects = ["{project}"]
"""


@pytest.fixture
def projects(tmp_path: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A client of the project that some models are kept to, and one of another project."""
    server = Everloom(tmp_path)
    server.command("migrate")
    key = server.command("keys", "create", "--project", "chosen").strip()
    with ScriptedUpstream(models=("gpt-4o", "o1", "o1-mini", "secret")) as upstream:
        text = SECRET.format(url=upstream.url, project=asyncio.run(_id_of(tmp_path, "chosen")))
        (tmp_path / "everloom.toml").write_text(text)
        with server, client_of(server, key, None) as theirs, client_of(server, API_KEY, None) as others:
            yield theirs, others


async def _id_of(folder: Path, name: str) -> str:
    database = SqliteDatabase(folder / "everloom.db")
    await database.open()
    try:
        [project] = await database.store(SYSTEM).all(Project, name=name)
    finally:
        await database.close()
    return project.id


def test_a_model_of_one_project_does_not_exist_for_another(projects: tuple[httpx.Client, httpx.Client]) -> None:
    theirs, others = projects
    listed = [{model["id"] for model in http.get("/models").json()["data"]} for http in projects]
    assert {"secret", "nick", "o1", "o1-mini", "gpt-4o"} <= listed[0]
    assert listed[0] - listed[1] == {"secret", "nick", "o1", "o1-mini"}
    for name in ("secret", "nick", "o1", "o1-mini", "o1-2024"):
        chat = {"model": name, "messages": [{"role": "user", "content": "Hi"}]}
        vectors = {"model": name, "input": "Hi"}
        assert theirs.post("/chat/completions", json=chat).status_code == 200
        assert theirs.post("/embeddings", json=vectors).status_code == 200
        assert theirs.delete(f"/models/{name}").status_code == (404 if name == "o1-2024" else 403)
        # The upstream for all the rest has models of these names, too; it is not asked.
        refusals = [others.get(f"/models/{name}"), others.delete(f"/models/{name}")]
        refusals += [others.post("/chat/completions", json=chat), others.post("/embeddings", json=vectors)]
        assert {answer.status_code for answer in refusals} == {404}
        assert {answer.json()["error"]["code"] for answer in refusals} == {"model_not_found"}
    assert [http.get("/models/secret").status_code for http in projects] == [200, 404]
    assert others.post("/embeddings", json={"model": "gpt-4o", "input": "Hi"}).status_code == 200


def test_whose_models_they_are(projects: tuple[httpx.Client, httpx.Client]) -> None:
    owners = {model["id"]: model["owned_by"] for model in projects[0].get("/models").json()["data"]}
    assert {owners[name] for name in ("smollm2-135m", "all-minilm-l6-v2", "minilm-moderation")} == {"everloom"}
    assert {owners[name] for name in ("nick", "secret", "gpt-4o")} == {"scripted"}
