"""What holds for projects, from the command line, beside no server."""

from pathlib import Path

from tests.cli.test_organization import as_json, refused, told
from tests.scripted import ScriptedUpstream


def test_limits_are_shown_and_set(tmp_path: Path) -> None:
    (tmp_path / "everloom.toml").write_text('[[limits]]\nmodel = "*"\nmax_requests_per_1_minute = 2000\n')
    heads, *lines = told(tmp_path, "limits", "list", "Default project").splitlines()
    assert heads.split("  ")[0] == "MODEL"
    (row,) = [line.split() for line in lines if line.startswith("smollm2-135m ")]
    assert row[1:] == ["2,000", "unlimited", "-", "-", "unlimited", "unlimited"]
    set_to = as_json(tmp_path, "limits", "set", "Default project", "smollm2-135m", "--requests-per-minute", "50")
    assert (set_to["id"], set_to["max_requests_per_1_minute"]) == ("rl-smollm2-135m", 50)
    assert set_to in as_json(tmp_path, "limits", "list", "proj_default")
    assert "50" in told(tmp_path, "limits", "set", "proj_default", "pocketsphinx", "--audio-megabytes-per-minute", "50")
    wrong = ("limits", "set", "proj_default", "smollm2-135m")
    assert "nothing to set" in refused(tmp_path, *wrong)
    assert "up to the organization's" in refused(tmp_path, *wrong, "--requests-per-minute", "2001")
    assert "integer below minimum value" in refused(tmp_path, *wrong, "--tokens-per-minute", "-1")
    assert "No rate limit found with id 'rl-none'" in refused(tmp_path, *wrong[:3], "none", "--requests-per-day", "1")
    hint = refused(tmp_path, *wrong[:3], "none", "--requests-per-day", "1")
    assert "'everloom limits list' shows the models" in hint
    assert "EVERLOOM_UPSTREAM" in hint
    unknown = refused(tmp_path, "limits", "set", "proj_none", "smollm2-135m", "--requests-per-day", "1")
    assert unknown == "everloom: The project proj_none was not found\n"
    assert "projects are called 'Nobody'" in refused(tmp_path, "limits", "list", "Nobody")


def test_limits_of_an_upstreams_models(tmp_path: Path) -> None:
    with ScriptedUpstream(models=("org/Big Model",)) as upstream:
        (tmp_path / "everloom.toml").write_text(f'upstream = "{upstream.url}"\n')
        assert "org/Big Model" in told(tmp_path, "limits", "list", "proj_default")
        set_to = as_json(tmp_path, "limits", "set", "proj_default", "org/Big Model", "--images-per-minute", "3")
        assert (set_to["model"], set_to["max_images_per_1_minute"]) == ("org/Big Model", 3)


def test_what_may_be_spent(tmp_path: Path) -> None:
    assert refused(tmp_path, "limits", "spend") == "everloom: The organization has no spend limit.\n"
    table = told(tmp_path, "limits", "spend", "1234.50")
    assert "$1,234.50 a month" in table
    assert "not reached" in table
    shown = as_json(tmp_path, "limits", "spend")
    assert (shown["threshold_amount"], shown["enforcement"]) == (123450, {"status": "inactive"})
    assert as_json(tmp_path, "limits", "spend", "5", "--project", "Default project")["object"] == "project.spend_limit"
    assert "whatever" in told(tmp_path, "limits", "spend", "--remove", "--project", "proj_default")
    assert "no spend limit" in refused(tmp_path, "limits", "spend", "--remove", "--project", "proj_default")
    assert "integer below minimum value" in refused(tmp_path, "limits", "spend", "0")
    assert "exclude each other" in refused(tmp_path, "limits", "spend", "5", "--remove")
    assert refused(tmp_path, "limits", "spend", "inf") == "everloom: inf is no amount of dollars\n"


def test_who_hears_of_it(tmp_path: Path) -> None:
    made = as_json(tmp_path, "limits", "alert", "50", "a@example.org", "b@example.org", "--subject", "Spend")
    assert made["notification_channel"]["recipients"] == ["a@example.org", "b@example.org"]
    told(tmp_path, "limits", "alert", "7.5", "c@example.org", "--project", "proj_default")
    assert as_json(tmp_path, "limits", "alerts") == [made]
    assert "$7.50 a month" in told(tmp_path, "limits", "alerts", "--project", "proj_default")
    assert "No spend alert found" in refused(tmp_path, "limits", "unalert", made["id"], "--project", "proj_default")
    told(tmp_path, "limits", "unalert", made["id"])
    assert as_json(tmp_path, "limits", "alerts") == []
    assert "Invalid 'notification_channel.recipients[0]'" in refused(tmp_path, "limits", "alert", "5", "nobody")


def test_which_models_a_project_may_use(tmp_path: Path) -> None:
    shown = as_json(tmp_path, "projects", "models", "proj_default")
    assert (shown["mode"], shown["model_ids"]) == ("deny_list", [])
    shown = as_json(tmp_path, "projects", "models", "proj_default", "--allow", "gpt-4o", "--allow", "o1")
    assert (shown["mode"], shown["model_ids"]) == ("allow_list", ["gpt-4o", "o1"])
    assert as_json(tmp_path, "projects", "models", "Default project") == shown
    assert "only these" in told(tmp_path, "projects", "models", "proj_default")
    assert "all but these" in told(tmp_path, "projects", "models", "proj_default", "--deny", "o1")
    assert as_json(tmp_path, "projects", "models", "proj_default", "--all")["model_ids"] == []
    assert "exclude" in refused(tmp_path, "projects", "models", "proj_default", "--all", "--deny", "x")
