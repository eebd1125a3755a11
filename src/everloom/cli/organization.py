"""The organization from the command line: the verbs of the API, told as tables or in the API's own JSON."""

import shlex
import sys
from functools import partial

from everloom.api.http.paths import PREFIX
from everloom.cli.tables import printable, say, show
from everloom.cli.telling import organization, project_of, read, show_one, user_of, whole
from everloom.config import Settings
from everloom.context import Context
from everloom.objects.base import JsonObject
from everloom.objects.invites import NewInvite
from everloom.objects.keys import Key, NewAdminApiKey, NewOperatorKey
from everloom.objects.projects import NewProject, Project, ProjectChanges
from everloom.objects.users import NewProjectUser, User, UserChanges
from everloom.work.organization import invites, keys, operator_keys, project_users, projects, users
from everloom.work.organization.establishing import DEFAULT_PROJECT
from everloom.work.organization.new_keys import check_scopes

_USERS = ("id", "name", "email", "role", "added_at")
_PROJECTS = ("id", "name", "status", "created_at", "archived_at")
_INVITES = ("id", "email", "role", "status", "expires_at")
_KEYS = ("id", "name", "redacted_value", "opens", "owner", "last_used_at")


# --- users ---------------------------------------------------------------------------------------------------------


async def list_users(settings: Settings, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        show(await whole(partial(ctx.store.find, User)), _USERS, as_json=as_json)


async def invite(
    settings: Settings, email: str, role: str, names: list[str] | None, *, url: str | None, as_json: bool
) -> None:
    """Invite somebody into some projects. The link leads to ``url``, by default where the settings say that clients
    know the server.
    """
    async with organization(settings) as ctx:
        asked: JsonObject = {"email": email, "role": role}
        if names is not None:
            asked["projects"] = [{"id": await project_of(ctx, name), "role": "member"} for name in names]
        base = (url or "").rstrip("/") or settings.public_url or f"http://{settings.host}:{settings.port}{PREFIX}"
        made = await invites.create_invite(ctx, read(asked, NewInvite), base)
        if as_json:
            say(made)
        else:
            print(f"Invited {made.email} as {made.role}. This link accepts it, for a week:\n{made.accept_url}")
            if ctx.ports.mailer is not None:
                print("A running server mails it.")
            print(f"A key for whoever has accepted it: everloom keys create --user {shlex.quote(made.email)}")


async def list_invites(settings: Settings, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        show(await whole(partial(invites.list_invites, ctx)), _INVITES, as_json=as_json)


async def uninvite(settings: Settings, invite_id: str) -> None:
    async with organization(settings) as ctx:
        await invites.delete_invite(ctx, invite_id)
    print(f"Took the invite {invite_id} back")


async def set_role(settings: Settings, who: str, role: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        asked = read({"role": role}, UserChanges)
        show_one(await users.modify_user(ctx, await user_of(ctx, who), asked), _USERS, as_json=as_json)


async def remove_user(settings: Settings, who: str) -> None:
    async with organization(settings) as ctx:
        await users.delete_user(ctx, await user_of(ctx, who))
    print(f"Removed {who} and all keys of theirs")


# --- projects ------------------------------------------------------------------------------------------------------


async def list_projects(settings: Settings, *, archived: bool, as_json: bool) -> None:
    async with organization(settings) as ctx:
        statuses = ["active", "archived"] if archived else ["active"]
        show(await whole(partial(ctx.store.find, Project, status=statuses)), _PROJECTS, as_json=as_json)


async def create_project(settings: Settings, name: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        show_one(await projects.create_project(ctx, read({"name": name}, NewProject)), _PROJECTS, as_json=as_json)


async def rename_project(settings: Settings, project: str, name: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        asked = read({"name": name}, ProjectChanges)
        show_one(await projects.modify_project(ctx, await project_of(ctx, project), asked), _PROJECTS, as_json=as_json)


async def archive_project(settings: Settings, project: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        show_one(await projects.archive_project(ctx, await project_of(ctx, project)), _PROJECTS, as_json=as_json)


async def list_members(settings: Settings, project: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        listed = partial(project_users.list_project_users, ctx, await project_of(ctx, project))
        show(await whole(listed), _USERS, as_json=as_json)


async def add_member(settings: Settings, project: str, who: str, role: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        asked = read({"user_id": await user_of(ctx, who), "role": role}, NewProjectUser)
        made = await project_users.create_project_user(ctx, await project_of(ctx, project), asked)
        show_one(made, _USERS, as_json=as_json)


async def remove_member(settings: Settings, project: str, who: str) -> None:
    async with organization(settings) as ctx:
        await project_users.delete_project_user(ctx, await project_of(ctx, project), await user_of(ctx, who))
    print(f"Took {who} out of {project}")


# --- keys ----------------------------------------------------------------------------------------------------------


async def create_key(
    settings: Settings,
    project: str | None,
    *,
    name: str | None,
    user: str | None,
    read_only: bool,
    scopes: list[str] | None,
) -> None:
    """Show a new key of a project. One that is not there is made by its name, but for no user: nobody is in it."""
    permissions = "read_only" if read_only else "restricted" if scopes else "all"
    asked: JsonObject = {"name": _or_usual(name), "permissions": permissions, "scopes": scopes or []}
    async with organization(settings) as ctx:
        key = read(asked, NewOperatorKey)
        if fault := check_scopes(key.scopes):
            raise fault  # before a project is made
        owner = None if user is None else await user_of(ctx, user)
        find = _project_or_new if owner is None else project_of
        id = DEFAULT_PROJECT if project is None else await find(ctx, project)
        secret = await operator_keys.create_project_key(ctx, id, key, owner)
        opens = await ctx.store.get(Project, id)
    _show_key(settings, secret, f"the project {printable(opens.name)} ({opens.id})")


def _show_key(settings: Settings, secret: str, opens: str) -> None:
    """The key alone where scripts read it; beside that what it opens, since a database may not be the one meant."""
    print(f"everloom: a key of {opens}, kept in {settings.database_place}", file=sys.stderr)
    print(secret)


def _or_usual(name: str | None) -> str:
    return "everloom keys create" if name is None else name


async def _project_or_new(ctx: Context, name: str) -> str:
    """As ``project_of``, but that a project of this name is made where none is open."""
    if name.startswith("proj_") or await ctx.store.all(Project, name=name, status="active"):
        return await project_of(ctx, name)
    return (await projects.create_project(ctx, read({"name": name}, NewProject))).id


async def create_admin_key(settings: Settings, *, name: str | None, user: str | None) -> None:
    """Show a new key of the organization's."""
    async with organization(settings) as ctx:
        asked = read({"name": _or_usual(name)}, NewAdminApiKey)
        owner = None if user is None else await user_of(ctx, user)
        secret = await operator_keys.create_admin_key(ctx, asked.name, owner)
    _show_key(settings, secret, "the organization")


async def list_keys(settings: Settings, project: str | None, *, as_json: bool) -> None:
    """The keys of a project; else of all that are open, and admin keys."""
    async with organization(settings) as ctx:
        if project is None:
            names = {each.id: each.name for each in await ctx.store.all(Project, status="active")}
            found = [_opening(key, "the organization") for key in await whole(partial(keys.list_admin_keys, ctx))]
        else:
            wanted = await ctx.store.get(Project, await project_of(ctx, project))
            names, found = {wanted.id: wanted.name}, []
        for id, name in names.items():
            found += [_opening(key, name) for key in await whole(partial(keys.list_project_keys, ctx, id))]
    if as_json:
        say([{name: value for name, value in key.items() if name != "opens"} for key in found])
        return
    for key in found:
        owner = key["owner"]
        key["owner"] = (owner.get("user") or owner.get("service_account") or owner)["name"]
    show(found, _KEYS, as_json=False)


def _opening(key: JsonObject, what: str) -> JsonObject:
    return key | {"opens": what}


async def delete_key(settings: Settings, key_id: str) -> None:
    async with organization(settings) as ctx:
        key = await ctx.store.get(Key, key_id)
        if key.access == "admin":
            await keys.delete_admin_key(ctx, key_id)
        else:
            await keys.delete_project_key(ctx, key.project_id, key_id)
    print(f"Deleted {key_id}")
