"""``GET /openapi.json`` tells what the server has, and a path of what it does not have says so."""

import json
from collections import Counter

import httpx
import pytest
import schemathesis

from everloom.api.http.openapi import document
from everloom.api.http.paths import Paths
from everloom.app.http import ROUTES
from everloom.kit.errors import ApiError, NotFound
from tests.servers import Everloom
from tests.spec.spec import SPEC, needs_spec


def test_the_document_is_served_without_a_key_and_has_every_operation(server: Everloom) -> None:
    answer = httpx.get(server.url.removesuffix("/v1") + "/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told == json.loads(json.dumps(document(ROUTES)))
    operations = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert operations == {
        (route.method, route.path if route.access == "open" else f"/v1{route.path}") for route in ROUTES
    }
    names = Counter(operation["operationId"] for methods in told["paths"].values() for operation in methods.values())
    assert [name for name, count in names.items() if count > 1] == []


def test_the_document_can_be_read() -> None:
    schema = schemathesis.openapi.from_dict(document(ROUTES))
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == len(ROUTES)
    schema.validate()


@needs_spec
def test_what_the_platform_has_come_to_have_is_said_not_to_be_here() -> None:
    """But for what it has below nouns that are here, too."""
    paths = Paths(ROUTES)
    refusals: dict[str, str] = {}
    for later in json.loads((SPEC / "endpoints-later.json").read_text()):
        path = "/v1" + later["path"].partition("?")[0].replace("{", "").replace("}", "")
        try:
            paths.find(later["method"], path)
        except ApiError as error:
            refusals[path] = error.message
    told = {path for path, message in refusals.items() if "Everloom does not have /v1/" in message}
    assert len(told) > 50
    ours = {tuple(route.path.split("/")[1:3]) for route in ROUTES}
    assert [path for path in refusals.keys() - told if tuple(path.split("/")[2:4]) not in ours] == []


@pytest.mark.parametrize("path", ["/v1/nonsense", "/v1/responsesx", "/v1/"])
def test_what_nobody_has_is_an_invalid_url(path: str) -> None:
    with pytest.raises(NotFound) as refused:
        Paths(ROUTES).find("POST", path)
    assert refused.value.message == f"Invalid URL (POST {path})"
