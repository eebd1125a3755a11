"""The organization from the command line: the verbs of the API, told as tables or in the API's own JSON."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from everloom.api.http.paths import PREFIX
from everloom.cli import CommandError
from everloom.cli.database import opened_ports
from everloom.cli.operator import operator_origin
from everloom.cli.tables import say, show
from everloom.config import Settings
from everloom.context import Context
from everloom.kit.errors import ApiError
from everloom.objects.base import JsonObject, Page, PageQuery, encode
from everloom.objects.invites import NewInvite
from everloom.objects.keys import Key
from everloom.objects.projects import NewProject, Project, ProjectChanges
from everloom.objects.users import NewProjectUser, User, UserChanges
from everloom.requests.binding import decode_body
from everloom.store.base import SYSTEM
from everloom.work.organization import invites, keys, project_users, projects, users
from everloom.work.organization.establishing import establish

T = TypeVar("T")

_USERS = ("id", "name", "email", "role", "added_at")
_PROJECTS = ("id", "name", "status", "created_at", "archived_at")
_INVITES = ("id", "email", "role", "status", "expires_at")
_KEYS = ("id", "name", "redacted_value", "opens", "owner", "last_used_at")


@asynccontextmanager
async def organization(settings: Settings) -> AsyncIterator[Context]:
    """The organization's own view. A ``CommandError`` for what a verb refuses."""
    async with opened_ports(settings) as ports:
        ctx = Context.of(ports, SYSTEM, operator_origin())
        await establish(ctx.store, ctx.origin)
        try:
            yield ctx
        except ApiError as error:
            raise CommandError(error.message) from error


# --- users ---------------------------------------------------------------------------------------------------------


async def list_users(settings: Settings, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        show(await _whole(partial(ctx.store.find, User)), _USERS, as_json=as_json)


async def invite(settings: Settings, email: str, role: str, names: list[str] | None, *, as_json: bool) -> None:
    """Invite somebody into some projects. The link leads to where the settings say that clients know the server."""
    async with organization(settings) as ctx:
        asked: JsonObject = {"email": email, "role": role}
        if names is not None:
            asked["projects"] = [{"id": await _project(ctx, name), "role": "member"} for name in names]
        base = settings.public_url or f"http://{settings.host}:{settings.port}{PREFIX}"
        made = await invites.create_invite(ctx, _read(asked, NewInvite), base)
        if as_json:
            say(made)
        else:
            print(f"Invited {made.email} as {made.role}. This link accepts it, for a week:\n{made.accept_url}")


async def list_invites(settings: Settings, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        show(await _whole(partial(invites.list_invites, ctx)), _INVITES, as_json=as_json)


async def uninvite(settings: Settings, invite_id: str) -> None:
    async with organization(settings) as ctx:
        await invites.delete_invite(ctx, invite_id)
    print(f"Took the invite {invite_id} back")


async def set_role(settings: Settings, who: str, role: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        asked = _read({"role": role}, UserChanges)
        _one(await users.modify_user(ctx, await _user(ctx, who), asked), _USERS, as_json=as_json)


async def remove_user(settings: Settings, who: str) -> None:
    async with organization(settings) as ctx:
        await users.delete_user(ctx, await _user(ctx, who))
    print(f"Removed {who} and all keys of theirs")


# --- projects ------------------------------------------------------------------------------------------------------


async def list_projects(settings: Settings, *, archived: bool, as_json: bool) -> None:
    async with organization(settings) as ctx:
        statuses = ["active", "archived"] if archived else ["active"]
        show(await _whole(partial(ctx.store.find, Project, status=statuses)), _PROJECTS, as_json=as_json)


async def create_project(settings: Settings, name: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        _one(await projects.create_project(ctx, _read({"name": name}, NewProject)), _PROJECTS, as_json=as_json)


async def rename_project(settings: Settings, project: str, name: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        asked = _read({"name": name}, ProjectChanges)
        _one(await projects.modify_project(ctx, await _project(ctx, project), asked), _PROJECTS, as_json=as_json)


async def archive_project(settings: Settings, project: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        _one(await projects.archive_project(ctx, await _project(ctx, project)), _PROJECTS, as_json=as_json)


async def list_members(settings: Settings, project: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        listed = partial(project_users.list_project_users, ctx, await _project(ctx, project))
        show(await _whole(listed), _USERS, as_json=as_json)


async def add_member(settings: Settings, project: str, who: str, role: str, *, as_json: bool) -> None:
    async with organization(settings) as ctx:
        asked = _read({"user_id": await _user(ctx, who), "role": role}, NewProjectUser)
        made = await project_users.create_project_user(ctx, await _project(ctx, project), asked)
        _one(made, _USERS, as_json=as_json)


async def remove_member(settings: Settings, project: str, who: str) -> None:
    async with organization(settings) as ctx:
        await project_users.delete_project_user(ctx, await _project(ctx, project), await _user(ctx, who))
    print(f"Took {who} out of {project}")


# --- keys ----------------------------------------------------------------------------------------------------------


async def list_keys(settings: Settings, project: str | None, *, as_json: bool) -> None:
    """The keys of a project; else of all that are open, and admin keys."""
    async with organization(settings) as ctx:
        if project is None:
            names = {each.id: each.name for each in await ctx.store.all(Project, status="active")}
            found = [_opening(key, "the organization") for key in await _whole(partial(keys.list_admin_keys, ctx))]
        else:
            wanted = await ctx.store.get(Project, await _project(ctx, project))
            names, found = {wanted.id: wanted.name}, []
        for id, name in names.items():
            found += [_opening(key, name) for key in await _whole(partial(keys.list_project_keys, ctx, id))]
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


# --- what is asked, and what is told -------------------------------------------------------------------------------


def _read(asked: JsonObject, kind: type[T]) -> T:
    """What a request of the API with this body would ask."""
    return decode_body(encode(asked), kind)


async def _user(ctx: Context, who: str) -> str:
    """The id of a user, who is named by it or by an address."""
    if "@" not in who:
        return who
    for user in await ctx.store.all(User, email=who.lower()):
        return user.id
    raise CommandError(f"no user has the address {who}")


async def _project(ctx: Context, name: str) -> str:
    """The id of a project that is named by it or, if it is open, by its name."""
    if name.startswith("proj_"):
        return name
    found = await ctx.store.all(Project, name=name, status="active")
    if len(found) == 1:
        return found[0].id
    raise CommandError(f"{len(found) or 'no'} projects are called {name!r}; 'everloom projects list' has their ids")


async def _whole(find: Callable[[PageQuery], Awaitable[Page[Any]]]) -> list[JsonObject]:
    """All pages of a list."""
    found: list[JsonObject] = []
    query = PageQuery(limit=100, order="asc")
    while True:
        page = await find(query)
        found += [msgspec.json.decode(body) for body in page.bodies]
        if not page.has_more:
            return found
        query = PageQuery(limit=100, order="asc", after=page.last_id)


def _one(thing: Any, columns: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        say(thing)
    else:
        show([msgspec.to_builtins(thing)], columns, as_json=False)
