"""The server has the reference's operations, and beside them only what is listed here."""

import json
import re
from collections.abc import Collection, Iterable

import pytest

from everloom.api.http.routes import Route
from everloom.api.v1 import DIALECT
from everloom.app.http import ROUTES
from everloom.objects.keys import SCOPES
from tests.spec.newest import GROUPS, SINGLE, gained
from tests.spec.overlay import EXTENSIONS
from tests.spec.spec import SPEC, needs_spec

pytestmark = needs_spec

Place = tuple[str, str]

SHARED = {
    *("Audio", "Batch", "Files", "Fine-tuning", "Uploads"),
    *("Chat", "Completions", "Embeddings", "Images", "Models", "Moderations"),
}
OLDER = {"Assistants (v1)", "Threads (v1)", "Messages (v1)", "Runs (v1)"}
VECTOR_STORES = {"Vector stores (v2)", "Vector store files (v2)", "Vector store file batches (v2)"}
ORGANIZATION = {
    *("Audit logs", "Invites", "Users", "Projects", "Usage"),
    *("Project users", "Project service accounts", "Project API keys", "Project rate limits"),
}
CURRENT = {"Assistants (v2)", "Threads (v2)", "Messages (v2)", "Runs (v2)", "Run steps (v2)"} | VECTOR_STORES
"""The groups of the reference that are built."""

OPEN = {("GET", "/openapi.json"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}
"""For operators: no key, and no ``/v1`` before them."""

_INVITE = "/organization/invites/{invite_id}/accept"
SIGNED = {("GET", "/images/files/{image_id}"), ("GET", _INVITE), ("POST", _INVITE)}
"""What the URLs of images and the links of invites lead to: a browser has no key, so the URL itself is signed."""

NAMES = {
    "submitToolOuputsToRun": "submit_tool_outputs",
    **{
        f"{verb}{whose}spendlimit": f"{verb.lower()}_{whose}_spend_limit"
        for verb in ("Get", "Update", "Delete")
        for whose in ("organization", "project")
    },
}
"""Where a handler is not called as its operation is: one is misspelt, some are hard to read."""


def reference(groups: set[str], file: str = "endpoints.json", single: Collection[Place] = ()) -> dict[Place, str]:
    """The operations of these groups, and single ones: where they are, and their ids."""
    rows = json.loads((SPEC / file).read_text(encoding="utf-8"))
    return {
        place: row["operationId"]
        for row in rows
        if (place := (row["method"], row["path"])) in single or row["group"] in groups
    }


def places(routes: Iterable[Route]) -> set[Place]:
    return {(route.method, route.path) for route in routes}


def test_the_current_form_has_every_operation_and_no_other() -> None:
    built = {*reference(SHARED | CURRENT | ORGANIZATION), *EXTENSIONS, *gained()}
    assert places(ROUTES) == built | OPEN | SIGNED


def test_the_older_form_has_every_operation_and_brings_no_other() -> None:
    older = reference(OLDER)
    assert set(older) <= places(ROUTES) | places(DIALECT.routes)
    assert places(DIALECT.routes) <= set(older)


@pytest.mark.parametrize(
    "groups", [SHARED | CURRENT, OLDER, ORGANIZATION, GROUPS], ids=["current", "older", "organization", "newest"]
)
def test_handlers_are_called_as_their_operations(groups: set[str]) -> None:
    ids = reference(groups, "endpoints-later.json", SINGLE) if groups == GROUPS else reference(groups)
    common = {(route.method, route.path): route.name for route in ROUTES}
    own = {(route.method, route.path): route.name for route in DIALECT.routes} if groups == OLDER else {}
    handlers = common | own
    assert {place: handlers[place] for place in ids} == {
        place: NAMES.get(id) or re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), id.replace("-", "_"))
        for place, id in ids.items()
    }


def test_only_the_operators_pages_and_signed_urls_are_open() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.access == "open"} == OPEN | SIGNED
    assert not [route for route in DIALECT.routes if route.access == "open"]


def test_the_organization_is_opened_by_admin_keys_alone() -> None:
    admin = {(route.method, route.path) for route in ROUTES if route.access == "admin"}
    assert admin == {place for place in places(ROUTES) - SIGNED if place[1].startswith("/organization/")}


SEVERAL_MAKES = {
    *("batch_id", "completion_id", "file_id", "fine_tuning_job_id", "image_id", "model", "upload_id"),
    "vector_store_id",
    *("alert_id", "invite_id", "key_id", "project_id", "rate_limit_id", "service_account_id", "user_id"),
}
"""What stands in paths and is looked up as it is: ids that were made elsewhere, too, or in several ways."""


def test_ids_in_paths_begin_as_those_of_their_nouns() -> None:
    for route in (*ROUTES, *DIALECT.routes):
        assert set(re.findall(r"{(\w+)}", route.path)) - SEVERAL_MAKES == set(route.prefixes), route.path
    steps = next(route for route in ROUTES if route.name == "get_run_step")
    assert steps.prefixes == {"thread_id": "thread_", "run_id": "run_", "step_id": "step_"}


def test_every_operation_of_a_project_asks_for_a_scope_that_keys_can_have() -> None:
    for route in (*ROUTES, *DIALECT.routes):
        if route.access == "project":
            assert route.scope in SCOPES, route.path
        else:
            verb = "read" if route.method == "GET" else "write"
            assert route.scope == (f"api.management.{verb}" if route.access == "admin" else ""), route.path
    assert {route.access for route in ROUTES if route.path.startswith("/organization")} == {"admin", "open"}


def test_the_assistants_family_asks_for_its_header() -> None:
    family = {(route.method, route.path) for route in ROUTES if route.api_family == "assistants"}
    assert family == {place for place in places(ROUTES) if place[1].startswith(("/assistants", "/threads"))}
