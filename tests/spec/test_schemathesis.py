"""schemathesis against a server process: what it makes of the specification, in thousands of requests.

It runs as the command it is, in a process of its own. The seed is fixed; ``EVERLOOM_TEST_SCHEMATHESIS_EXAMPLES``
asks for more cases an operation than the few of an everyday run.
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from everloom.api.v1 import DIALECT
from everloom.app.http import ROUTES
from tests.builders import posted
from tests.fine_tuning import let_be_tuned
from tests.moderating import moderated
from tests.organization import ALERT, INVITES, a_project, a_user, admin_of, an_account, an_email
from tests.organization import PROJECTS as ORGANIZATION_PROJECTS
from tests.pictures import drawing
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, API_KEY, Everloom
from tests.servers import http as client_of
from tests.spec.overlay import Dialect, document
from tests.spec.spec import ROOT, needs_spec
from tests.world import a_world

pytestmark = needs_spec

EXAMPLES = int(os.environ.get("EVERLOOM_TEST_SCHEMATHESIS_EXAMPLES", "12"))

ORGANIZATION = r"^/organization/(audit_logs|invites|users|admin_api_keys|projects|spend_)"

PATHS: dict[Dialect, str] = {
    "assistants=v1": r"^/(assistants|threads)",
    "assistants=v2": r"^/(assistants|threads|files|uploads|vector_stores|models|chat/completions|completions|embeddings"
    r"|audio|moderations|images|batches|fine_tuning)",
}

CHECKS = (
    "not_a_server_error",
    "response_schema_conformance",
    "content_type_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
    "unsupported_method",
    "negative_data_rejection",
)
"""Left out: status_code_conformance (the documents know 200 alone), positive_data_acceptance (ids, models and
limits between parameters are no part of a schema)."""

NEVER_ACCEPTED = {
    "submit_tool_outputs": "the calls of a run that waits are no part of a schema",
    "complete_upload": "the parts of an upload are no part of a schema",
    "cancel_upload": "the upload that stands is kept for those who would add parts to it",
    "modify_message": "the thread of the message that stands may be deleted before any right metadata is made up",
    "create_transcription": "sound is no part of a schema",
    "create_translation": "sound is no part of a schema",
    "archive_project": "the project that stands is kept for those who would change it",
    "show_invite": "the signature of a link is no part of a schema",
    "accept_invite": "the signature of a link is no part of a schema",
    "retrieve_admin_api_key": "the key that stands is a project's",
    **dict.fromkeys(
        ("cancel_fine_tuning_job", "pause_fine_tuning_job", "resume_fine_tuning_job"),
        "a job at the scripted upstream has ended before anybody can move it",
    ),
    "pull_catalogue_model": "what is right would be fetched from a package index",
    "cancel_run": "a run on the scripted upstream has ended before anybody can cancel it",
}
"""Operations of which no generated request need be right; the walks of the SDKs have them. Deletions are others:
whether one finds an object that may go is left to the dice."""


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        upstream.serve("/moderations", moderated)
        for path in ("generations", "edits", "variations"):
            upstream.serve(f"/images/{path}", drawing)
        upstream.serve("/audio/speech", lambda request: web.Response(body=b"ID3", content_type="audio/mpeg"))
        yield upstream


@pytest.fixture
def server(upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[Everloom]:
    """A server of its own for each run, on which every name is a model's."""
    let_be_tuned(tmp_path, upstream.url, "gpt-4o")
    with Everloom(tmp_path, upstream=upstream.url, aliases="*=gpt-4o", embedding_model="scripted") as server:
        yield server


@pytest.mark.parametrize("dialect", PATHS)
def test_no_request_breaks_what_the_specification_says(
    dialect: Dialect, server: Everloom, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    with client_of(server) as current, client_of(server, beta="assistants=v1") as older:
        ids = a_world(current, older, upstream)
    done = schemathesis(dialect, PATHS[dialect], API_KEY, server, ids, tmp_path)
    check(done, server, reached(dialect, PATHS[dialect]))


def test_no_request_breaks_what_the_organization_says(server: Everloom, tmp_path: Path) -> None:
    with admin_of(server) as admin:
        project = a_project(admin)
        account, user = an_account(admin, project), a_user(admin)
        posted(admin, f"{ORGANIZATION_PROJECTS}/{project['id']}/users", {"user_id": user["id"], "role": "member"})
        invite = posted(admin, INVITES, {"email": an_email(), "role": "reader"})
        alert = posted(admin, f"{ORGANIZATION_PROJECTS}/{project['id']}/spend_alerts", ALERT)
    ids = {"project_id": project["id"], "user_id": user["id"], "invite_id": invite["id"]}
    ids |= {"alert_id": alert["id"], "rate_limit_id": "rl-gpt-4o"}
    ids |= {"service_account_id": account["id"], "key_id": account["api_key"]["id"]}
    done = schemathesis("assistants=v2", ORGANIZATION, ADMIN_KEY, server, ids, tmp_path)
    check(done, server, reached("assistants=v2", ORGANIZATION))


def check(done: "subprocess.CompletedProcess[str]", server: Everloom, operations: set[str]) -> None:
    """A run has found nothing, and has met every operation."""
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert not [line for line in server.output if "ERROR" in line or "Traceback" in line]

    answered = statuses(server)
    # Whether each single operation meets a right request is left to the dice, too; that most do is not.
    never = {name for name in operations - set(NEVER_ACCEPTED) if 200 not in answered[name]}
    assert len(never) <= len(operations) // 5, never
    keyless = {route.name for route in ROUTES if route.access == "open"}
    assert {name for name in operations - keyless if 401 not in answered[name]} == set()
    assert {name for name, all in answered.items() if any(status >= 500 for status in all)} == set()


def schemathesis(
    dialect: Dialect, paths: str, key: str, server: Everloom, ids: dict[str, str], folder: Path
) -> "subprocess.CompletedProcess[str]":
    """A run over all phases, its requests with the key and the beta header."""
    specification = folder / "specification.json"
    specification.write_text(json.dumps(document(dialect)))
    arguments = ["--url", server.url, "--header", f"Authorization: Bearer {key}"]
    arguments += ["--header", f"OpenAI-Beta: {dialect}", "--checks", ",".join(CHECKS)]
    arguments += ["--include-path-regex", paths]
    arguments += ["--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure", "--warnings", "off"]
    arguments += ["--seed", "20241205", "--max-examples", str(EXAMPLES), "--generation-database", "none", "--no-color"]
    return subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", str(specification), *arguments],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.spec.fuzz_hooks",
            "EVERLOOM_TEST_IDS": json.dumps(ids),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60 + 60 * EXAMPLES,
    )


def statuses(server: Everloom) -> dict[str, set[int]]:
    """The statuses that each operation has answered, as the server's own metrics tell."""
    metrics = httpx.get(server.url.removesuffix("/v1") + "/metrics").text
    answered: dict[str, set[int]] = defaultdict(set)
    for name, status in re.findall(r'http_request_seconds_count\{operation="(\w+)",status="(\d+)"\}', metrics):
        answered[name].add(int(status))
    return answered


def reached(dialect: Dialect, paths: str) -> set[str]:
    """The operations whose paths are in a run, but deletions."""
    routes = [*ROUTES, *DIALECT.routes] if dialect == DIALECT.name else ROUTES
    return {route.name for route in routes if re.search(paths, route.path) and route.method != "DELETE"}
