"""Models through HTTP."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from everloom.api import models  # noqa: F401 - its import registers the operations
from everloom.api.http import ROUTES
from everloom.models.registry import Models
from everloom.models.upstream import UpstreamBackend
from tests.scripted import ScriptedUpstream
from tests.serving import KEY, Serving


@pytest.fixture
def sdk(tmp_path: Path) -> Iterator[openai.OpenAI]:
    with ScriptedUpstream(models=("gpt-4o", "o1")) as upstream:
        names = Models([], [("gpt-4-turbo", "gpt-4o"), ("old-*", "o1")], default=UpstreamBackend(upstream.url))
        with (
            Serving(tmp_path, names, ROUTES) as server,
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
