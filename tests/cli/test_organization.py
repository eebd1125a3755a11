"""The organization from the command line, beside no server."""

import json
import re
from pathlib import Path
from typing import Any

from tests.cli.programs import everloom


def told(folder: Path, *arguments: str) -> str:
    done = everloom(folder, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def as_json(folder: Path, *arguments: str) -> Any:
    return json.loads(told(folder, *arguments, "--json"))


def refused(folder: Path, *arguments: str) -> str:
    done = everloom(folder, *arguments)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_users_are_invited_shown_and_kept(tmp_path: Path) -> None:
    (owner,) = as_json(tmp_path, "users", "list")
    assert (owner["id"], owner["role"]) == ("user-owner", "owner")
    heads, line = told(tmp_path, "users", "list").splitlines()
    assert heads.split() == ["ID", "NAME", "EMAIL", "ROLE", "ADDED"]
    assert line.split()[:4] == ["user-owner", "Owner", "owner@localhost", "owner"]
    said = told(tmp_path, "users", "invite", "New@example.org", "--role", "owner")
    assert re.search(r"\nhttp://127\.0\.0\.1:8080/v1/organization/invites/invite-\w+/accept\?signature=\w{64}\n$", said)
    (invite,) = as_json(tmp_path, "users", "invites")
    assert (invite["email"], invite["role"], invite["status"]) == ("new@example.org", "owner", "pending")
    assert "accept_url" not in invite
    assert invite["id"] in told(tmp_path, "users", "uninvite", invite["id"])
    assert as_json(tmp_path, "users", "invites") == []
    last = "everloom: The last owner of the organization cannot be removed or demoted.\n"
    assert refused(tmp_path, "users", "remove", "owner@localhost") == last
    assert refused(tmp_path, "users", "role", "user-owner", "reader") == last
    assert "Supported values are: 'owner' and 'reader'." in refused(tmp_path, "users", "role", "user-owner", "king")
    assert refused(tmp_path, "users", "role", "a@b.c", "owner") == "everloom: no user has the address a@b.c\n"
    assert "Invalid 'email'" in refused(tmp_path, "users", "invite", "nobody")


def test_projects_and_who_is_in_them(tmp_path: Path) -> None:
    made = as_json(tmp_path, "projects", "create", "My [bold]project")
    assert as_json(tmp_path, "projects", "rename", made["id"], "Mine") == made | {"name": "Mine"}
    place = as_json(tmp_path, "projects", "add", "Mine", "owner@localhost", "--role", "owner")
    assert as_json(tmp_path, "projects", "users", "Mine") == [place]
    told(tmp_path, "projects", "remove", "Mine", "user-owner")
    assert as_json(tmp_path, "projects", "users", "Mine") == []
    assert "archived" in told(tmp_path, "projects", "archive", "Mine")
    assert "projects are called 'Mine'" in refused(tmp_path, "projects", "archive", "Mine")
    assert refused(tmp_path, "projects", "archive", made["id"]) == "everloom: Project Mine is archived\n"
    assert [each["name"] for each in as_json(tmp_path, "projects", "list")] == ["Default project"]
    assert [each["name"] for each in as_json(tmp_path, "projects", "list", "--archived")] == ["Default project", "Mine"]


def test_keys_are_made_shown_and_deleted(tmp_path: Path) -> None:
    secret = told(tmp_path, "keys", "create", "--name", "mine", "--scope", "api.files.read").strip()
    told(tmp_path, "keys", "create", "--read-only", "--project", "Other")
    told(tmp_path, "keys", "create", "--admin")
    listed = told(tmp_path, "keys", "list")
    assert secret not in listed
    assert [line.split()[0][:4] for line in listed.splitlines()] == ["ID", "key_", "key_", "key_"]
    (key,) = as_json(tmp_path, "keys", "list", "--project", "Default project")
    assert key["name"] == "mine"
    told(tmp_path, "keys", "delete", key["id"])
    assert refused(tmp_path, "keys", "delete", key["id"]) == f"everloom: No API key found with id '{key['id']}'.\n"
    assert len(as_json(tmp_path, "keys", "list")) == 2
    assert "Supported values are: 'api.assistants.read'" in refused(tmp_path, "keys", "create", "--scope", "all")
    assert "exclude each other" in refused(tmp_path, "keys", "create", "--admin", "--read-only")
