"""Webhooks, on both databases: endpoints as the SDK has them, and what arrives there, signed, whatever they answer."""

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from openai import InvalidWebhookSignatureError, NotFoundError, OpenAI

from everloom.objects.webhooks import EVENT_TYPES, MAX_ENDPOINTS
from tests.builders import WEATHER, Json, a_run, a_thread, an_assistant, posted, refused, run_path, settled
from tests.hooks import Hook, endless, never, slow_head, status
from tests.organization import a_project, admin_of, an_account
from tests.postgres import fresh_database
from tests.replies import Calls, Fails, Hangs, Says
from tests.scripted import ScriptedUpstream
from tests.servers import API_KEY, Everloom
from tests.servers import http as client_of

RUNS = [type for type in EVENT_TYPES if type.startswith("thread.run.")]


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def hooking(
    request: pytest.FixtureRequest, _upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Everloom]:
    """A server on either database that may send to this machine; on PostgreSQL a worker beside it does."""
    folder = tmp_path_factory.mktemp("hooks")
    settings: Json = {"upstream": _upstream.url, "webhooks_allow_private": True, "run_expires": 30}
    if request.param == "sqlite":
        with Everloom(folder, **settings) as server:
            yield server
    else:
        settings["database"] = fresh_database()
        with (
            Everloom(folder, arguments=("--no-worker",), **settings) as server,
            Everloom(folder, command="worker", **settings),
        ):
            yield server


@pytest.fixture
def project(hooking: Everloom, upstream: ScriptedUpstream) -> Iterator[httpx.Client]:
    """A client of a project of its own, so that no endpoint hears of another test's runs."""
    with admin_of(hooking) as admin:
        key = an_account(admin, a_project(admin))["api_key"]["value"]
    with client_of(hooking, key) as client:
        yield client


@pytest.fixture
def sdk(hooking: Everloom, project: httpx.Client) -> OpenAI:
    key = project.headers["authorization"].removeprefix("Bearer ")
    return OpenAI(base_url=hooking.url, api_key=key, max_retries=0)


def an_endpoint(client: httpx.Client, url: str, *types: str, **fields: Any) -> Json:
    body = {"url": url, "name": "hook", "event_types": types or RUNS, **fields}
    return posted(client, "/webhook_endpoints", body)


def finished(client: httpx.Client) -> Json:
    return settled(client, a_run(client), "completed")


# --- endpoints -----------------------------------------------------------------------------------------------------


def test_the_sdk_makes_finds_changes_and_deletes_endpoints(sdk: OpenAI) -> None:
    types: Any = ["batch.completed", "thread.run.completed", "batch.completed"]
    made = sdk.webhooks.create(url="https://example.org/hook?key=1", name="first", event_types=types)
    assert made.event_types == ["batch.completed", "thread.run.completed"]
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint == f"whsec_...{made.signing_secret[-5:]}"
    assert made.updated_at == made.created_at
    second = sdk.webhooks.create(url="https://example.org/2", name="second", event_types=["batch.failed"])
    assert [each.id for each in sdk.webhooks.list(limit=1)] == [second.id, made.id]
    found = sdk.webhooks.retrieve(made.id)
    assert found.to_dict() == {name: value for name, value in made.to_dict().items() if name != "signing_secret"}
    time.sleep(1.1)
    assert sdk.webhooks.update(made.id, name="first").updated_at == made.created_at
    changed = sdk.webhooks.update(made.id, name="other", url="https://example.org/3", event_types=["batch.expired"])
    assert (changed.name, changed.url, changed.event_types) == ("other", "https://example.org/3", ["batch.expired"])
    assert changed.updated_at is not None
    assert changed.updated_at > made.created_at
    assert sdk.webhooks.event_types.list().data == list(EVENT_TYPES)
    gone = sdk.webhooks.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "webhook_endpoint.deleted")
    for use in (sdk.webhooks.retrieve, sdk.webhooks.delete, sdk.webhooks.rotate_secret):
        with pytest.raises(NotFoundError):
            use(made.id)
    assert [each.id for each in sdk.webhooks.list()] == [second.id]


def test_what_can_be_no_endpoint_is_refused_and_nothing_is_kept(project: httpx.Client) -> None:
    good: Json = {"url": "https://example.org/", "name": "n", "event_types": ["batch.completed"]}
    wrong: list[tuple[Json, str, str]] = [
        ({"url": "ftp://example.org"}, "url", "invalid_value"),
        ({"url": "https://"}, "url", "invalid_value"),
        ({"url": "https://exa mple.org"}, "url", "invalid_value"),
        ({"url": "https://user:pass@example.org"}, "url", "invalid_value"),
        ({"url": "https://example.org:99999"}, "url", "invalid_value"),
        ({"url": "https://[::1"}, "url", "invalid_value"),
        *(
            ({"url": f"https://{host}/"}, "url", "invalid_value")
            for host in ("2130706433", "0x7f.1", "127.1", "1.0x7f.")
        ),
        ({"url": "https://example.org/" + "x" * 2048}, "url", "string_above_max_length"),
        ({"name": ""}, "name", "empty_string"),
        ({"name": "x" * 257}, "name", "string_above_max_length"),
        ({"event_types": []}, "event_types", "empty_array"),
        ({"event_types": ["response.completed"]}, "event_types[0]", "invalid_value"),
        ({"event_types": "batch.completed"}, "event_types", "invalid_type"),
        ({"more": 1}, "more", "unknown_parameter"),
    ]
    for fields, param, code in wrong:
        refused(project.post("/webhook_endpoints", json=good | fields), 400, param=param, code=code)
    assert project.get("/webhook_endpoints").json()["data"] == []
    made = posted(project, "/webhook_endpoints", good)
    for fields, param, code in wrong:
        refused(project.post(f"/webhook_endpoints/{made['id']}", json=fields), 400, param=param, code=code)
    assert project.get(f"/webhook_endpoints/{made['id']}").json()["url"] == good["url"]


def test_a_project_has_so_many_endpoints_and_no_more(project: httpx.Client) -> None:
    for _ in range(MAX_ENDPOINTS):
        an_endpoint(project, "https://example.org/")
    body = {"url": "https://example.org/", "name": "n", "event_types": ["batch.completed"]}
    refused(project.post("/webhook_endpoints", json=body), 400, code="too_many_webhook_endpoints")


# --- what arrives --------------------------------------------------------------------------------------------------


def test_a_run_that_ends_is_told_once_and_the_sdk_unwraps_it(project: httpx.Client, sdk: OpenAI) -> None:
    with Hook() as hook, Hook() as other:
        endpoint = an_endpoint(project, hook.url)
        an_endpoint(project, other.url, "thread.run.failed", "batch.completed")
        runs = [finished(project) for _ in range(3)]
        for run in runs:
            (sent,) = hook.about(run["id"])
            event: Any = sdk.webhooks.unwrap(sent.body, sent.headers, secret=endpoint["signing_secret"])
            assert event.type == "thread.run.completed"
            assert (event.object, event.data.to_dict()) == ("event", {"id": run["id"], "thread_id": run["thread_id"]})
            assert event.id.startswith("evt_")
            assert 0 <= event.created_at - run["completed_at"] <= 2
            assert sent.headers["webhook-id"].startswith("wh_")
            assert sent.headers["content-type"] == "application/json"
            with pytest.raises(InvalidWebhookSignatureError):
                sdk.webhooks.unwrap(sent.body + b" ", sent.headers, secret=endpoint["signing_secret"])
        assert len({sent.headers["webhook-id"] for sent in hook.sent}) == len(hook.sent) == 3
        assert other.sent == []


def test_every_end_of_a_run_and_its_wait_for_the_caller_are_told(
    project: httpx.Client, upstream: ScriptedUpstream
) -> None:
    with Hook() as hook:
        an_endpoint(project, hook.url)
        wanted = {}

        upstream.script(Says("Enough."))
        wanted["thread.run.completed"] = settled(project, a_run(project), "completed")
        upstream.script(Fails(400))
        wanted["thread.run.failed"] = settled(project, a_run(project), "failed")
        upstream.script(Says("Too much", finish="length"))
        wanted["thread.run.incomplete"] = settled(project, a_run(project), "incomplete")
        upstream.script(Calls(("weather", {"city": "Oslo"})))
        waiting = settled(project, a_run(project, tools=[WEATHER]), "requires_action")
        wanted["thread.run.requires_action"] = waiting
        upstream.script(Hangs())
        run = settled(project, a_run(project), "in_progress")
        posted(project, f"{run_path(run)}/cancel")
        wanted["thread.run.cancelled"] = settled(project, run, "cancelled")
        for type, run in wanted.items():
            assert [sent.event["type"] for sent in hook.about(run["id"])] == [type]
        # The one that waits for its caller, until its time is over.
        told = [sent.event["type"] for sent in hook.about(waiting["id"], 2)]
        assert told == ["thread.run.requires_action", "thread.run.expired"]
        assert len(hook.sent) == 6


def test_an_endpoint_that_comes_late_hears_of_nothing_before_and_a_deleted_one_of_nothing_after(
    project: httpx.Client,
) -> None:
    with Hook() as hook, Hook() as second:
        before = finished(project)
        endpoint = an_endpoint(project, hook.url)
        run = finished(project)
        hook.about(run["id"])
        assert project.delete(f"/webhook_endpoints/{endpoint['id']}").status_code == 200
        an_endpoint(project, second.url)
        after = finished(project)
        second.about(after["id"])
        assert [sent.event["data"]["id"] for sent in hook.sent] == [run["id"]]
        assert before["id"] not in [sent.event["data"]["id"] for sent in second.sent]


def test_what_is_not_taken_comes_again_with_the_same_id_and_body(project: httpx.Client) -> None:
    with Hook(status(500, 302, 404, 204, location="/elsewhere")) as hook:
        an_endpoint(project, hook.url)
        run = finished(project)
        sent = hook.about(run["id"], 4)
        assert len({(each.headers["webhook-id"], each.body) for each in sent}) == 1
        assert {each.path for each in sent} == {"/hook"}
        stamps = [int(each.headers["webhook-timestamp"]) for each in sent]
        assert stamps == sorted(stamps)
        pauses = [later.at - earlier.at for earlier, later in pairwise(sent)]
        assert all(pause > 1 for pause in pauses)
        later = finished(project)
        assert len(hook.about(later["id"])) == 1
        assert len(hook.about(run["id"])) == 4


def test_an_endpoint_that_says_it_is_gone_hears_of_that_event_no_more(project: httpx.Client) -> None:
    with Hook(status(410, 204)) as hook:
        an_endpoint(project, hook.url)
        first = finished(project)
        hook.about(first["id"])
        second = finished(project)
        hook.about(second["id"])
        third = finished(project)
        hook.about(third["id"])
        assert len(hook.about(first["id"])) == 1


@pytest.mark.parametrize("bad", [status(500), never, slow_head], ids=["500", "silent", "slow"])
def test_an_endpoint_that_fails_for_ever_keeps_no_other_waiting(bad: Any, project: httpx.Client) -> None:
    with Hook(bad) as failing, Hook() as good:
        for _ in range(3):
            an_endpoint(project, failing.url)
        an_endpoint(project, good.url)
        runs = [finished(project) for _ in range(5)]
        failing.wait(1)
        for run in runs:
            (sent,) = good.about(run["id"], seconds=20)
            assert sent.event["type"] == "thread.run.completed"


def test_an_answer_without_an_end_is_not_read_to_it(project: httpx.Client) -> None:
    with Hook(endless) as hook:
        an_endpoint(project, hook.url)
        runs = [finished(project) for _ in range(2)]
        for run in runs:
            hook.about(run["id"])
        assert len(hook.sent) == 2


def test_a_poisonous_event_holds_up_no_other_of_its_endpoint(project: httpx.Client) -> None:
    poison: list[str] = []

    def answer(request: Any) -> None:
        request.reply(500 if hook.sent[-1].event["data"]["id"] in poison else 204)

    with Hook() as hook:
        an_endpoint(project, hook.url)
        thread = a_thread(project, "Hi")
        assistant = an_assistant(project)
        hook.answer = answer
        poison += [run["id"] for run in [a_run(project, thread, assistant)]]
        hook.about(poison[0], 2)
        after = [finished(project) for _ in range(3)]
        for run in after:
            assert len(hook.about(run["id"])) == 1
        poison.clear()


# --- secrets -------------------------------------------------------------------------------------------------------


def verifies(sdk: OpenAI, sent: Any, secret: str) -> bool:
    try:
        sdk.webhooks.verify_signature(sent.body, sent.headers, secret=secret)
    except InvalidWebhookSignatureError:
        return False
    return True


def test_a_rotated_secret_signs_alone_unless_the_old_one_is_kept(project: httpx.Client, sdk: OpenAI) -> None:
    with Hook() as hook:
        endpoint = an_endpoint(project, hook.url)
        place = f"/webhook_endpoints/{endpoint['id']}"
        first = endpoint["signing_secret"]
        second = sdk.webhooks.rotate_secret(endpoint["id"], keep_old_secret_active_for_24_hours=True).signing_secret
        sdk.webhooks.test(endpoint["id"], event_type="batch.completed")
        assert [verifies(sdk, hook.sent[-1], secret) for secret in (first, second)] == [True, True]
        third = posted(project, f"{place}/rotate_secret", {"keep_old_secret_active_for_24_hours": True})
        run = finished(project)
        (sent,) = hook.about(run["id"])
        secrets = [first, second, third["signing_secret"]]
        assert [verifies(sdk, sent, secret) for secret in secrets] == [True, True, True]
        answer = project.post(f"{place}/rotate_secret")  # without a body, as in the reference's example
        assert answer.status_code == 200
        last = answer.json()
        assert last["signing_secret_hint"] == f"whsec_...{last['signing_secret'][-5:]}"
        sdk.webhooks.test(endpoint["id"], event_type="batch.completed")
        assert [verifies(sdk, hook.sent[-1], secret) for secret in secrets] == [False] * 3
        assert verifies(sdk, hook.sent[-1], last["signing_secret"])


# --- samples -------------------------------------------------------------------------------------------------------


def test_a_sample_is_sent_at_once_and_its_answer_is_told_whatever_it_is(project: httpx.Client, sdk: OpenAI) -> None:
    with Hook(status(204, 500, 302, location="/elsewhere")) as hook:
        endpoint = an_endpoint(project, hook.url)
        for code, type in ((204, "batch.expired"), (500, "thread.run.failed"), (302, "batch.failed")):
            wanted: Any = type
            result = sdk.webhooks.test(endpoint["id"], event_type=wanted)
            assert (result.status_code, result.success, result.event_type) == (code, True, type)
            assert result.webhook_endpoint_id == endpoint["id"]
            event: Any = sdk.webhooks.unwrap(
                hook.sent[-1].body, hook.sent[-1].headers, secret=endpoint["signing_secret"]
            )
            assert event.type == type
        assert len(hook.sent) == 3


def test_a_sample_that_is_not_answered_is_an_error(project: httpx.Client) -> None:
    with Hook() as hook:
        gone = hook.url
    place = f"/webhook_endpoints/{an_endpoint(project, gone)['id']}/test"
    asked = {"event_type": "batch.completed"}
    refused(project.post(place, json=asked), 400, "it could not be connected to", code="webhook_test_failed")
    unknown = an_endpoint(project, "https://nobody.invalid/")["id"]
    answer = project.post(f"/webhook_endpoints/{unknown}/test", json=asked)
    refused(answer, 400, "its name could not be looked up", code="webhook_test_failed")
    refused(project.post(place, json={"event_type": "nothing"}), 400, param="event_type", code="invalid_value")
    refused(project.post("/webhook_endpoints/whe_none/test", json=asked), 404)


def test_what_waits_for_an_archived_project_is_never_delivered(hooking: Everloom, upstream: ScriptedUpstream) -> None:
    with admin_of(hooking) as admin, Hook(status(500)) as hook:
        project = a_project(admin)
        with client_of(hooking, an_account(admin, project)["api_key"]["value"]) as client:
            an_endpoint(client, hook.url)
            run = finished(client)
            hook.about(run["id"])
            posted(admin, f"/organization/projects/{project['id']}/archive")
        tried = len(hook.about(run["id"]))
        with client_of(hooking) as other, Hook(status(500)) as beside:
            endpoint = an_endpoint(other, beside.url)
            beside.about(finished(other)["id"], 4)  # which takes longer than the other's next try would
            other.delete(f"/webhook_endpoints/{endpoint['id']}")
        assert len(hook.about(run["id"])) <= tried + 1  # one may have been under way


# --- keys ----------------------------------------------------------------------------------------------------------


def test_a_restricted_key_needs_the_scope_of_webhooks(hooking: Everloom) -> None:
    reading = hooking.command("keys", "create", "--scope", "api.webhooks.read").strip()
    with client_of(hooking, reading) as client:
        assert client.get("/webhook_endpoints").status_code == 200
        body = {"url": "https://example.org/", "name": "n", "event_types": ["batch.completed"]}
        assert client.post("/webhook_endpoints", json=body).status_code == 403
        assert client.get("/assistants").status_code == 403


# --- addresses -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everloom]:
    """A server with the settings that there are by themselves."""
    with Everloom(tmp_path_factory.mktemp("guarded"), upstream=_upstream.url) as server:
        yield server


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1"),
        *("169.254.169.254", "168.63.129.16", "224.0.0.1", "255.255.255.255"),
        *("[::1]", "[::]", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[ff02::1]"),
        *("[2002:7f00:1::]", "[::ffff:a9fe:a9fe]"),
    ],
)
def test_no_endpoint_is_at_an_address_of_this_network(guarded: Everloom, host: str) -> None:
    with client_of(guarded) as client:
        body = {"url": f"https://{host}/", "name": "n", "event_types": ["batch.completed"]}
        refused(client.post("/webhook_endpoints", json=body), 400, "its address", param="url", code="invalid_value")
        plain = body | {"url": "http://example.org"}
        refused(client.post("/webhook_endpoints", json=plain), 400, "https://", param="url", code="invalid_value")


def test_a_name_that_leads_here_is_not_connected_to(guarded: Everloom) -> None:
    with client_of(guarded) as client, Hook() as hook:
        made = an_endpoint(client, f"https://localhost:{hook.port}/")
        answer = client.post(f"/webhook_endpoints/{made['id']}/test", json={"event_type": "batch.completed"})
        refused(answer, 400, "its address is not one", code="webhook_test_failed")
        assert hook.sent == []
        client.delete(f"/webhook_endpoints/{made['id']}")


def test_the_default_project_has_a_key_that_may_all_of_this(hooking: Everloom) -> None:
    with client_of(hooking, API_KEY) as client:
        assert client.get("/webhook_event_types").json()["data"] == list(EVENT_TYPES)
