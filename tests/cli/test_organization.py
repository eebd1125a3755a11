"""The organization from the command line, beside no server."""

import json
import re
from pathlib import Path
from typing import Any

import psycopg

from tests.builders import fetched
from tests.cli.programs import everloom
from tests.organization import PROJECTS, a_project, a_user, admin_of
from tests.postgres import fresh_database
from tests.servers import Everloom
from tests.servers import http as client_of


def told(folder: Path, *arguments: str) -> str:
    """What a command prints, on a database that nobody has served yet."""
    migrated(folder)
    done = everloom(folder, *arguments)
    named = f"kept in {folder / 'data' / 'everloom.db'}\n" if arguments[:2] == ("keys", "create") else ""
    assert done.returncode == 0
    assert done.stderr.endswith(named)
    assert done.stderr.count("\n") == bool(named)
    return done.stdout


def migrated(folder: Path) -> None:
    if not (folder / "data" / "everloom.db").exists():
        assert everloom(folder, "migrate").returncode == 0


def as_json(folder: Path, *arguments: str) -> Any:
    return json.loads(told(folder, *arguments, "--json"))


def refused(folder: Path, *arguments: str) -> str:
    migrated(folder)
    done = everloom(folder, *arguments)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_folder_that_was_mistyped_gets_no_database(tmp_path: Path) -> None:
    commands = (
        *(("keys", "create"), ("keys", "create", "--admin"), ("keys", "list"), ("users", "list"), ("usage",)),
        *(("limits", "list", "proj_default"), ("audit", "list"), ("audit", "verify"), ("audit", "accept")),
        *(("webhooks", "list"), ("import", str(tmp_path)), ("export", str(tmp_path / "out"))),
    )
    for arguments in commands:
        done = everloom(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert done.stderr == (
            f"everloom: nothing has been started on {tmp_path / 'data' / 'everloom.db'}: no database is there. "
            "Is it the right one (--data, EVERLOOM_DATABASE)? "
            "A first 'everloom serve' makes one, and so does 'everloom migrate'\n"
        )
        assert not (tmp_path / "data").exists(), arguments


def test_a_database_of_nobody_on_postgresql_is_left_alone(tmp_path: Path) -> None:
    url = fresh_database()
    done = everloom(tmp_path, "keys", "create", database=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no database is there. Is it the right one (EVERLOOM_DATABASE)?" in done.stderr
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)
    assert everloom(tmp_path, "migrate", database=url).returncode == 0
    made = everloom(tmp_path, "keys", "create", database=url)
    assert made.stdout.startswith("sk-proj-")
    place = url.rpartition("@")[2]
    assert made.stderr == f"everloom: a key of the project Default project (proj_default), kept in {place}\n"


def test_users_are_invited_shown_and_kept(tmp_path: Path) -> None:
    (owner,) = as_json(tmp_path, "users", "list")
    assert (owner["id"], owner["role"]) == ("user-owner", "owner")
    heads, line = told(tmp_path, "users", "list").splitlines()
    assert heads.split() == ["ID", "NAME", "EMAIL", "ROLE", "ADDED"]
    assert line.split()[:4] == ["user-owner", "Owner", "owner@localhost", "owner"]
    said = told(tmp_path, "users", "invite", "New@example.org", "--role", "owner")
    assert re.search(r"\nhttp://127\.0\.0\.1:8080/v1/organization/invites/invite-\w+/accept\?signature=\w{64}\n", said)
    assert said.endswith("\nA key for whoever has accepted it: everloom keys create --user new@example.org\n")
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
    elsewhere = as_json(tmp_path, "users", "invite", "b@example.org", "--url", "http://127.0.0.1:9000/v1/")[
        "accept_url"
    ]
    assert elsewhere.startswith("http://127.0.0.1:9000/v1/organization/invites/")


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


def test_a_long_name_makes_no_table_wide(tmp_path: Path) -> None:
    made = as_json(tmp_path, "projects", "create", "p" * 256)
    told(tmp_path, "keys", "create", "--project", made["id"], "--name", "k" * 256)
    for arguments in (("projects", "list"), ("keys", "list"), ("audit", "list")):
        lines = told(tmp_path, *arguments).splitlines()
        assert max(map(len, lines)) < 320
        assert "p" * 63 + "…" in "".join(lines)
    assert made["name"] in told(tmp_path, "projects", "list", "--json")
    told(tmp_path, "projects", "archive", made["id"])
    archived = as_json(tmp_path, "projects", "create", "twice")["id"]
    told(tmp_path, "projects", "archive", archived)
    told(tmp_path, "projects", "create", "twice")
    assert "'everloom projects list --archived' has their ids" in refused(
        tmp_path, "audit", "list", "--project", "twice"
    )


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


def keys_of(folder: Path, project: str) -> list[Any]:
    listed: list[Any] = as_json(folder, "keys", "list", "--project", project)
    return listed


def test_the_project_of_a_key_is_named_by_id_or_name(tmp_path: Path) -> None:
    made = as_json(tmp_path, "projects", "create", "Mine")
    told(tmp_path, "keys", "create", "--project", made["id"])
    told(tmp_path, "keys", "create", "--project", "Mine")
    told(tmp_path, "keys", "create", "--project", "New one")
    told(tmp_path, "keys", "create", "--project", "New one", "--name", "n" * 256)
    assert [each["name"] for each in as_json(tmp_path, "projects", "list")] == ["Default project", "Mine", "New one"]
    assert len(keys_of(tmp_path, "Mine")) == len(keys_of(tmp_path, "New one")) == 2
    unknown = refused(tmp_path, "keys", "create", "--project", "proj_nothing")
    assert unknown == "everloom: The project proj_nothing was not found\n"
    for wrong in (("--project", ""), ("--project", "p" * 257), ("--name", ""), ("--name", "n" * 257)):
        assert "Invalid 'name'" in refused(tmp_path, "keys", "create", *wrong)
    assert "Invalid 'name'" in refused(tmp_path, "keys", "create", "--admin", "--name", "n" * 257)
    # What is refused makes no project beside it.
    refused(tmp_path, "keys", "create", "--project", "Newer", "--name", "")
    refused(tmp_path, "keys", "create", "--project", "Newer", "--scope", "all")
    refused(tmp_path, "keys", "create", "--project", "Newer", "--user", "owner@localhost")
    assert len(as_json(tmp_path, "projects", "list")) == 3
    told(tmp_path, "projects", "create", "Mine")
    assert "2 projects are called 'Mine'" in refused(tmp_path, "keys", "create", "--project", "Mine")
    told(tmp_path, "projects", "archive", made["id"])
    archived = refused(tmp_path, "keys", "create", "--project", made["id"])
    assert archived == "everloom: Project Mine is archived\n"
    assert len(as_json(tmp_path, "keys", "list")) == 2


def test_a_key_is_made_for_a_user(sqlite_server: Everloom) -> None:
    with admin_of(sqlite_server) as admin:
        project = a_project(admin)
        member = a_user(admin, projects=[{"id": project["id"], "role": "member"}])
        owner = a_user(admin, "owner")
        make = ("keys", "create", "--project", project["id"], "--user")
        mine = sqlite_server.command(*make, member["email"].upper()).strip()
        theirs = sqlite_server.command(*make, owner["id"]).strip()
        boss = sqlite_server.command("keys", "create", "--admin", "--user", owner["email"]).strip()
        shown = fetched(admin, f"{PROJECTS}/{project['id']}/api_keys")["data"]
        assert [key["owner"]["user"]["id"] for key in shown] == [member["id"], owner["id"]]
        for secret in (mine, theirs):
            with client_of(sqlite_server, secret) as client:
                assert client.get("/assistants").status_code == 200
        with client_of(sqlite_server, boss, beta=None) as client:
            made = a_project(client)
        (event,) = fetched(admin, "/organization/audit_logs", **{"resource_ids[]": made["id"]})["data"]
        assert event["actor"]["api_key"]["user"] == {"id": owner["id"], "email": owner["email"]}
        told = fetched(admin, "/organization/audit_logs", **{"resource_ids[]": shown[0]["id"]})["data"]
        assert [each["type"] for each in told] == ["api_key.created"]
        assert told[0]["api_key.created"]["data"]["owner_id"] == member["id"]
        assert admin.delete(f"{PROJECTS}/{project['id']}/users/{member['id']}").status_code == 200
        with client_of(sqlite_server, mine) as client:
            assert client.get("/assistants").json()["error"]["code"] == "key_owner_without_access"


def test_whom_no_key_is_made_for(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with Everloom(tmp_path / "data") as server, admin_of(server) as admin:
        reader = a_user(admin, projects=[])
    make = ("keys", "create", "--user")
    nobody = refused(tmp_path, *make, reader["email"])
    assert nobody == f"everloom: {reader['email']} is not in the project: 'everloom projects add' lets users in.\n"
    assert "does not own the organization" in refused(tmp_path, *make, reader["email"], "--admin")
    assert refused(tmp_path, *make, "user-none") == "everloom: No user found with id 'user-none'.\n"
    assert refused(tmp_path, *make, "user-none", "--admin") == "everloom: No user found with id 'user-none'.\n"
    assert refused(tmp_path, *make, "a@b.c") == "everloom: no user has the address a@b.c\n"
    told(tmp_path, "projects", "add", "proj_default", reader["email"])
    assert told(tmp_path, *make, reader["email"]).startswith("sk-proj-")
