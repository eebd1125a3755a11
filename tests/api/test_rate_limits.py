"""Rate limits of projects: shown for each model that a project may see, lowered and raised up to the organization's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest

from tests.builders import Json, fetched, posted
from tests.crowd import ask
from tests.organization import PROJECTS, a_project, admin_of, an_account, refused
from tests.scripted import ScriptedUpstream
from tests.servers import ADMIN_KEY, Everloom
from tests.servers import http as http_of

UNLIMITED = 1_000_000_000
ALWAYS = ("max_requests_per_1_minute", "max_tokens_per_1_minute", "max_requests_per_1_day")
IMAGES, AUDIO, BATCH = "max_images_per_1_minute", "max_audio_megabytes_per_1_minute", "batch_1_day_max_input_tokens"


@pytest.fixture
def admin(each_server: Everloom) -> Iterator[httpx.Client]:
    with admin_of(each_server) as client:
        yield client


def limits_path(admin: httpx.Client) -> str:
    return f"{PROJECTS}/{a_project(admin)['id']}/rate_limits"


def by_model(admin: httpx.Client, path: str) -> dict[str, Json]:
    return {limit["model"]: limit for limit in fetched(admin, path)["data"]}


def unlimited(model: str, *more: str) -> Json:
    numbers = dict.fromkeys((*ALWAYS, *more), UNLIMITED)
    return {"object": "project.rate_limit", "id": f"rl-{model}", "model": model, **numbers}


def test_each_model_has_the_limits_that_concern_it(admin: httpx.Client) -> None:
    found = by_model(admin, limits_path(admin))
    assert found["smollm2-135m"] == unlimited("smollm2-135m", BATCH)
    assert found["all-minilm-l6-v2"] == unlimited("all-minilm-l6-v2", BATCH)
    assert found["minilm-moderation"] == unlimited("minilm-moderation", BATCH)
    assert found["espeak-ng"] == unlimited("espeak-ng")
    assert found["pocketsphinx"] == unlimited("pocketsphinx", AUDIO)
    assert found["gpt-4o"] == unlimited("gpt-4o", IMAGES, AUDIO, BATCH)  # What it does, its own server knows.


def test_only_what_is_given_is_changed(admin: httpx.Client) -> None:
    path = limits_path(admin)
    first = posted(admin, f"{path}/rl-gpt-4o", {"max_requests_per_1_minute": 500})
    assert first == unlimited("gpt-4o", IMAGES, AUDIO, BATCH) | {"max_requests_per_1_minute": 500}
    second = posted(admin, f"{path}/rl-gpt-4o", {IMAGES: 0, BATCH: 15_000_000_000, "max_requests_per_1_day": None})
    assert second == first | {IMAGES: 0, BATCH: 15_000_000_000}
    assert posted(admin, f"{path}/rl-gpt-4o", {}) == second
    assert by_model(admin, path)["gpt-4o"] == second
    third = posted(admin, f"{path}/rl-gpt-4o", {"max_requests_per_1_minute": 600})
    assert third == second | {"max_requests_per_1_minute": 600}
    assert by_model(admin, path)["gpt-4-turbo"] == unlimited("gpt-4-turbo", IMAGES, AUDIO, BATCH)
    assert by_model(admin, limits_path(admin))["gpt-4o"] == unlimited("gpt-4o", IMAGES, AUDIO, BATCH)
    # What a model does not do it may be limited in, as Terraform does that sends all six.
    quiet = posted(admin, f"{path}/rl-smollm2-135m", {IMAGES: 3, "max_tokens_per_1_minute": 7})
    assert quiet == unlimited("smollm2-135m", BATCH) | {"max_tokens_per_1_minute": 7}


def test_pages_go_both_ways(admin: httpx.Client) -> None:
    path = limits_path(admin)
    whole = fetched(admin, path)
    ids = [limit["id"] for limit in whole["data"]]
    assert (whole["object"], whole["has_more"], ids) == ("list", False, sorted(ids))
    assert (whole["first_id"], whole["last_id"]) == (ids[0], ids[-1])
    forward: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = fetched(admin, path, **query)
        forward += [limit["id"] for limit in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert forward == ids
    page = fetched(admin, path, before=ids[3], limit=2)
    assert ([limit["id"] for limit in page["data"]], page["has_more"]) == (ids[1:3], True)
    page = fetched(admin, path, after=ids[0], before=ids[3])
    assert ([limit["id"] for limit in page["data"]], page["has_more"]) == (ids[1:3], False)
    # The model of a cursor may have gone; where it stood, its name says.
    page = fetched(admin, path, after=f"{ids[1]}!")
    assert [limit["id"] for limit in page["data"]] == ids[2:]
    empty = fetched(admin, path, after=ids[-1])
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    for wrong in ({"limit": 0}, {"limit": 1001}, {"limit": -1}, {"limit": "x"}, {"limit": 10**30}, {"after": "gpt-4o"}):
        refused(admin.get(path, params=wrong), 400)
    refused(admin.get(path, params={"before": "x" * 5000}), 400)


@pytest.mark.parametrize("name", [*ALWAYS, IMAGES, AUDIO, BATCH])
def test_what_can_be_no_limit_changes_nothing(admin: httpx.Client, name: str) -> None:
    path = f"{limits_path(admin)}/rl-gpt-4o"
    stands = posted(admin, path, {name: 5})
    for value, code in (
        (-1, "integer_below_min_value"),
        (10**12 + 1, "integer_above_max_value"),
        (10**30, "integer_above_max_value"),
        (1.5, "invalid_type"),
        ("5", "invalid_type"),
        (True, "invalid_type"),
        ([5], "invalid_type"),
    ):
        assert name in refused(admin.post(path, json={"max_requests_per_1_day": 9, name: value}), 400, code)
    refused(admin.post(path, json={name: 6, "max_cats": 1}), 400, "unknown_parameter")
    refused(admin.post(path, content=b"{"), 400)
    assert posted(admin, path, {}) == stands


def test_ids_that_name_no_model_that_the_project_may_see(admin: httpx.Client) -> None:
    project = a_project(admin)
    path = f"{PROJECTS}/{project['id']}"
    for id in ("rl-o9", "rl-", "gpt-4o", "rl_gpt-4o", "RL-gpt-4o", "rl-GPT-4O", "rl-gpt-4o%20", "rl-..%2Fgpt-4o"):
        text = refused(admin.post(f"{path}/rate_limits/{id}", json={}), 404)
        assert text.startswith("No rate limit found with id '"), text
    refused(admin.post(f"{path}/rate_limits/rl-{'x' * 200}", json={}), 400)
    assert "null character" in refused(admin.post(f"{path}/rate_limits/rl-a%00b", json={}), 400)
    posted(admin, f"{path}/model_permissions", {"mode": "deny_list", "model_ids": ["gpt-4o"]})
    refused(admin.post(f"{path}/rate_limits/rl-gpt-4o", json={}), 404)
    assert "gpt-4o" not in by_model(admin, f"{path}/rate_limits")
    refused(admin.get(f"{path}/rate_limits/rl-gpt-4-turbo"), 405)
    for nothing in ("proj_nothing", "org-everloom"):
        refused(admin.get(f"{PROJECTS}/{nothing}/rate_limits"), 404)
        refused(admin.post(f"{PROJECTS}/{nothing}/rate_limits/rl-gpt-4-turbo", json={}), 404)
    posted(admin, f"{path}/archive")
    refused(admin.get(f"{path}/rate_limits"), 400, "project_archived")
    refused(admin.post(f"{path}/rate_limits/rl-gpt-4-turbo", json={}), 400, "project_archived")


# --- the operator's ceilings, and names of all kinds -----------------------------------------------------------------

SETTINGS = """
upstream = "{url}"

[aliases]
"nick" = "gpt-4o"
"old-*" = "gpt-4o"

[[limits]]
model = "gpt-4o"
max_requests_per_1_minute = 500
max_images_per_1_minute = 5

[[limits]]
model = "*"
max_requests_per_1_minute = 1000
max_requests_per_1_day = 20000
"""
NAMES = ("meta-llama/Llama-3-8B", "a b", "org/deep/er", "tagged:latest", "Ünï", "100%", "what?", "#1")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Everloom]:
    with ScriptedUpstream(models=("gpt-4o", "gpt-4-turbo", *NAMES)) as upstream:
        (tmp_path / "everloom.toml").write_text(SETTINGS.format(url=upstream.url))
        with Everloom(tmp_path) as server:
            yield server


def test_the_settings_are_defaults_and_ceilings(limited: Everloom) -> None:
    with admin_of(limited) as admin:
        path = limits_path(admin)
        usual = {"max_requests_per_1_minute": 500, IMAGES: 5}
        assert by_model(admin, path)["gpt-4o"] == unlimited("gpt-4o", IMAGES, AUDIO, BATCH) | usual
        others = {"max_requests_per_1_minute": 1000, "max_requests_per_1_day": 20000}
        assert by_model(admin, path)["smollm2-135m"] == unlimited("smollm2-135m", BATCH) | others
        for name, most in usual.items():
            text = refused(admin.post(f"{path}/rl-gpt-4o", json={name: most + 1}), 400, "integer_above_max_value")
            assert text == (
                f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {most + 1} "
                "instead. A project's limits may be raised up to the organization's."
            )
            refused(admin.post(f"{path}/rl-gpt-4o", json={name: UNLIMITED}), 400)
            for number in (most, 1, 0, most):
                assert posted(admin, f"{path}/rl-gpt-4o", {name: number})[name] == number
        assert posted(admin, f"{path}/rl-gpt-4o", {BATCH: 5})[BATCH] == 5


def test_an_alias_has_the_limits_of_its_model(limited: Everloom) -> None:
    with admin_of(limited) as admin:
        path = limits_path(admin)
        set_to = posted(admin, f"{path}/rl-nick", {"max_requests_per_1_minute": 7})
        assert (set_to["id"], set_to["model"]) == ("rl-nick", "nick")
        found = by_model(admin, path)
        assert found["gpt-4o"] == set_to | {"id": "rl-gpt-4o", "model": "gpt-4o"}
        assert posted(admin, f"{path}/rl-old-1", {"max_requests_per_1_day": 8})["max_requests_per_1_minute"] == 7
        assert by_model(admin, path)["nick"]["max_requests_per_1_day"] == 8


def test_no_spelling_of_a_name_and_no_invented_one_has_limits_of_its_own(tmp_path: Path) -> None:
    settings = """
    [[limits]]
    model = "made-*"
    max_requests_per_1_minute = 3
    [[limits]]
    model = "*"
    max_requests_per_1_minute = 5
    """
    with ScriptedUpstream(models=("gpt-4o", "gpt-4-turbo")) as upstream:
        (tmp_path / "everloom.toml").write_text(f'upstream = "{upstream.url}"\n{settings}')
        with Everloom(tmp_path) as server, admin_of(server) as admin:
            project = a_project(admin)
            posted(admin, f"{PROJECTS}/{project['id']}/rate_limits/rl-gpt-4o", {"max_requests_per_1_minute": 2})
            key = an_account(admin, project)["api_key"]["value"]
            with http_of(server, key) as http:

                def answered(*names: str) -> list[int]:
                    return [http.post("/chat/completions", json=ask("Hi", model=name)).status_code for name in names]

                assert answered("GPT-4o", "gpt-4o:latest", "gpt-4o", " gpt-4O", "Gpt-4o:Latest") == [
                    200,
                    200,
                    *[429] * 3,
                ]
                assert answered(*(f"any-{number}" for number in range(7))) == [*[200] * 5, 429, 429]
                assert answered(*(f"Made-{number}" for number in range(4))) == [*[200] * 3, 429]
                refusal = http.post("/chat/completions", json=ask("Hi", model="made-up"))
                assert "Rate limit reached for made-* in organization" in refused(refusal, 429, "rate_limit_exceeded")
                # What the upstream lists has limits of its own.
                assert answered(*["gpt-4-turbo"] * 6) == [*[200] * 5, 429]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_all_kinds(limited: Everloom, name: str) -> None:
    with admin_of(limited) as admin:
        path = limits_path(admin)
        assert posted(admin, f"{path}/{quote(f'rl-{name}', safe='')}", {BATCH: 5})["model"] == name
        assert by_model(admin, path)[name][BATCH] == 5
        if not set(name) & set("?#%"):  # Which a path cannot hold as they are.
            assert posted(admin, f"{path}/rl-{name}", {BATCH: 6})["id"] == f"rl-{name}"
        project = path.split("/")[-2]
        with openai.OpenAI(base_url=limited.url, api_key="none", admin_api_key=ADMIN_KEY) as client:
            rate_limits = client.admin.organization.projects.rate_limits
            changed = rate_limits.update_rate_limit(f"rl-{name}", project_id=project, max_requests_per_1_day=9)
            assert (changed.id, changed.max_requests_per_1_day) == (f"rl-{name}", 9)
            assert f"rl-{name}" in [limit.id for limit in rate_limits.list_rate_limits(project, limit=3)]
