"""Webhook endpoints from the command line, beside no server."""

from pathlib import Path

from tests.cli.test_organization import as_json, refused, told
from tests.hooks import Hook


def test_endpoints_are_made_changed_tried_and_deleted(tmp_path: Path) -> None:
    (tmp_path / "everloom.toml").write_text("webhooks_allow_private = true\n")
    with Hook() as hook:
        said = told(tmp_path, "webhooks", "create", hook.url, "--event", "batch.completed", "--name", "mine")
        assert "shown this once" in said
        (endpoint,) = as_json(tmp_path, "webhooks", "list")
        assert endpoint["id"] in said
        assert (endpoint["url"], endpoint["event_types"]) == (hook.url, ["batch.completed"])
        assert "signing_secret" not in endpoint
        heads, line = told(tmp_path, "webhooks", "list").splitlines()
        assert heads.split()[:4] == ["ID", "NAME", "URL", "EVENT"]
        assert line.split()[:4] == [endpoint["id"], "mine", hook.url, "batch.completed"]
        assert f"{endpoint['id']} answered a sample of batch.failed with 204" in told(
            tmp_path, "webhooks", "test", endpoint["id"], "--event", "batch.failed"
        )
        assert [sent.event["type"] for sent in hook.sent] == ["batch.failed"]
        changed = as_json(tmp_path, "webhooks", "update", endpoint["id"], "--name", "other")
        assert (changed["name"], changed["event_types"]) == ("other", ["batch.completed"])
        turned = as_json(tmp_path, "webhooks", "rotate", endpoint["id"], "--keep-old")
        assert turned["signing_secret"] not in said
        told(tmp_path, "webhooks", "test", endpoint["id"])
        assert len(hook.sent[-1].headers["webhook-signature"].split()) == 2
        told(tmp_path, "webhooks", "delete", endpoint["id"])
        assert as_json(tmp_path, "webhooks", "list") == []
        assert "No webhook endpoint found" in refused(tmp_path, "webhooks", "delete", endpoint["id"])


def test_endpoints_stand_in_a_project_and_what_cannot_be_one_is_refused(tmp_path: Path) -> None:
    told(tmp_path, "projects", "create", "Other")
    made = as_json(tmp_path, "webhooks", "create", "https://example.org/", "--project", "Other")
    assert len(made["event_types"]) >= 10
    assert as_json(tmp_path, "webhooks", "list") == []
    assert [each["id"] for each in as_json(tmp_path, "webhooks", "list", "--project", "Other")] == [made["id"]]
    assert "Invalid 'url'" in refused(tmp_path, "webhooks", "create", "http://127.0.0.1/")
    assert "Invalid value" in refused(tmp_path, "webhooks", "create", "https://example.org/", "--event", "no.such")
    assert "no projects are called" in refused(tmp_path, "webhooks", "list", "--project", "None")
