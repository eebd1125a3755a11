"""What webhook endpoints are sent of fine-tuning is what the newest reference says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from everloom.objects.webhooks import EVENT_TYPES
from tests.builders import posted
from tests.fine_tuning import a_job, let_be_tuned, until
from tests.hooks import Hook
from tests.scripted import ScriptedUpstream
from tests.servers import Everloom
from tests.servers import http as client_of
from tests.spec.newest import component, newest
from tests.spec.spec import needs_spec
from tests.training.fine_tuning_server import SLOW

pytestmark = needs_spec


@pytest.fixture
def http(upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[httpx.Client]:
    with (
        Everloom(let_be_tuned(tmp_path, upstream.url), webhooks_allow_private=True) as server,
        client_of(server) as http,
    ):
        yield http


def schemas() -> dict[str, dict[str, Any]]:
    """Those of events of fine-tuning, by the events' types."""
    names = [name for name in newest()["components"]["schemas"] if name.startswith("WebhookFineTuning")]
    return {component(name)["title"]: component(name) for name in names}


def test_every_event_is_one_that_endpoints_can_want() -> None:
    assert schemas().keys() == {type for type in EVENT_TYPES if type.startswith("fine_tuning.")}


def test_ends_of_jobs_are_announced(http: httpx.Client) -> None:
    types = list(schemas())
    with Hook() as hook:
        posted(http, "/webhook_endpoints", {"url": hook.url, "name": "tuning", "event_types": types})
        done, broken = until(http, a_job(http)), until(http, a_job(http, b"no JSON\n"))
        slow = until(http, a_job(http, suffix=SLOW), "running")
        posted(http, f"/fine_tuning/jobs/{slow['id']}/cancel")
        for job, end in ((done, "succeeded"), (broken, "failed"), (slow, "cancelled")):
            (event,) = [sent.event for sent in hook.about(job["id"])]
            assert event["type"] == f"fine_tuning.job.{end}"
            Draft202012Validator(schemas()[event["type"]]).validate(event)
            assert event["data"] == {"id": job["id"]}
