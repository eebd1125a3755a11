"""What the commands of the organization have in common: its view, and what is asked as by the API."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from everloom.cli import CommandError
from everloom.cli.database import opened_ports
from everloom.cli.operator import operator_origin
from everloom.cli.tables import say, show
from everloom.config import Settings
from everloom.context import Context
from everloom.kit.errors import ApiError
from everloom.objects.base import JsonObject, Page, PageQuery, encode
from everloom.objects.projects import Project
from everloom.objects.users import User
from everloom.requests.binding import decode_body
from everloom.store.base import SYSTEM
from everloom.work.organization.establishing import DEFAULT_PROJECT, establish
from everloom.work.organization.projects import the_open_project

T = TypeVar("T")


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


def read(asked: JsonObject, kind: type[T]) -> T:
    """What a request of the API with this body would ask."""
    return decode_body(encode(asked), kind)


async def user_of(ctx: Context, who: str) -> str:
    """The id of a user, who is named by it or by an address."""
    if "@" not in who:
        return who
    for user in await ctx.store.all(User, email=who.lower()):
        return user.id
    raise CommandError(f"no user has the address {who}")


async def project_of(ctx: Context, name: str) -> str:
    """The id of a project that is named by it or, if it is open, by its name."""
    if name.startswith("proj_"):
        return name
    found = await ctx.store.all(Project, name=name, status="active")
    if len(found) == 1:
        return found[0].id
    raise CommandError(f"{len(found) or 'no'} projects are called {name!r}; 'everloom projects list' has their ids")


@asynccontextmanager
async def in_project(settings: Settings, name: str | None) -> AsyncIterator[Context]:
    """The view of a project, by its id or name, by default of the default one. Errors: ``CommandError``."""
    async with organization(settings) as ctx:
        id = DEFAULT_PROJECT if name is None else await project_of(ctx, name)
        project: Project = await the_open_project(ctx, id)
        yield Context.of(ctx.ports, project.id, ctx.origin)


async def whole(find: Callable[[PageQuery], Awaitable[Page[Any]]]) -> list[JsonObject]:
    """All pages of a list."""
    found: list[JsonObject] = []
    query = PageQuery(limit=100, order="asc")
    while True:
        page = await find(query)
        found += [msgspec.json.decode(body) for body in page.bodies]
        if not page.has_more:
            return found
        query = PageQuery(limit=100, order="asc", after=page.last_id)


def show_one(thing: Any, columns: Sequence[str], *, as_json: bool) -> None:
    """One thing as a table of a row."""
    if as_json:
        say(thing)
    else:
        show([msgspec.to_builtins(thing)], columns, as_json=False)
