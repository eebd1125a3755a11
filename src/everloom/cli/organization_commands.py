"""``everloom users``, ``projects`` and ``keys``: the organization's half of the API for whoever has the database."""

import asyncio
from typing import Annotated

import typer

from everloom.cli.options import AsJson, Config, Data, settings_of

users = typer.Typer(help="Who belongs to the organization.", no_args_is_help=True)
projects = typer.Typer(help="Projects, and who is in them.", no_args_is_help=True)
keys = typer.Typer(help="Make, show and delete keys.", no_args_is_help=True)

Who = Annotated[str, typer.Argument(help="A user's id or address.")]
KeyUser = Annotated[
    str | None,
    typer.Option(
        help="Whose it is, by id or address: somebody in the project, or an owner. By default the first owner's.",
        show_default=False,
    ),
]
Which = Annotated[str, typer.Argument(help="A project's id or name.")]


@users.command("list")
def users_list(as_json: AsJson = False, data: Data = None, config: Config = None) -> None:
    """Show the users of the organization."""
    from everloom.cli import organization

    asyncio.run(organization.list_users(settings_of(data, config), as_json=as_json))


@users.command("invite")
def users_invite(
    email: Annotated[str, typer.Argument(help="Who is invited.")],
    role: Annotated[str, typer.Option(help="owner or reader.")] = "reader",
    project: Annotated[
        list[str] | None, typer.Option(help="A project to be let into, as a member; by default the default one.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Base URL of the link; by default the server's, by the settings.")
    ] = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Invite somebody, and show the link that accepts it, this once. Who has accepted it needs a key: 'keys create'."""
    from everloom.cli import organization

    asyncio.run(organization.invite(settings_of(data, config), email, role, project, url=url, as_json=as_json))


@users.command("invites")
def users_invites(as_json: AsJson = False, data: Data = None, config: Config = None) -> None:
    """Show the invites."""
    from everloom.cli import organization

    asyncio.run(organization.list_invites(settings_of(data, config), as_json=as_json))


@users.command("uninvite")
def users_uninvite(
    invite: Annotated[str, typer.Argument(help="An invite's id.")], data: Data = None, config: Config = None
) -> None:
    """Take an invite back."""
    from everloom.cli import organization

    asyncio.run(organization.uninvite(settings_of(data, config), invite))


@users.command("role")
def users_role(
    user: Who,
    role: Annotated[str, typer.Argument(help="owner or reader.")],
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Give a user another role."""
    from everloom.cli import organization

    asyncio.run(organization.set_role(settings_of(data, config), user, role, as_json=as_json))


@users.command("remove")
def users_remove(user: Who, data: Data = None, config: Config = None) -> None:
    """Take a user, and all keys that are the user's, out of the organization."""
    from everloom.cli import organization

    asyncio.run(organization.remove_user(settings_of(data, config), user))


@projects.command("list")
def projects_list(
    archived: Annotated[bool, typer.Option("--archived", help="The archived ones, too.")] = False,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show the projects."""
    from everloom.cli import organization

    asyncio.run(organization.list_projects(settings_of(data, config), archived=archived, as_json=as_json))


@projects.command("create")
def projects_create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a project."""
    from everloom.cli import organization

    asyncio.run(organization.create_project(settings_of(data, config), name, as_json=as_json))


@projects.command("rename")
def projects_rename(
    project: Which, name: str, as_json: AsJson = False, data: Data = None, config: Config = None
) -> None:
    """Call a project something else."""
    from everloom.cli import organization

    asyncio.run(organization.rename_project(settings_of(data, config), project, name, as_json=as_json))


@projects.command("archive")
def projects_archive(project: Which, as_json: AsJson = False, data: Data = None, config: Config = None) -> None:
    """Close a project for good: its keys are refused from now on."""
    from everloom.cli import organization

    asyncio.run(organization.archive_project(settings_of(data, config), project, as_json=as_json))


@projects.command("users")
def projects_users(project: Which, as_json: AsJson = False, data: Data = None, config: Config = None) -> None:
    """Show who is in a project."""
    from everloom.cli import organization

    asyncio.run(organization.list_members(settings_of(data, config), project, as_json=as_json))


@projects.command("add")
def projects_add(
    project: Which,
    user: Who,
    role: Annotated[str, typer.Option(help="owner or member.")] = "member",
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Let a user into a project."""
    from everloom.cli import organization

    asyncio.run(organization.add_member(settings_of(data, config), project, user, role, as_json=as_json))


@projects.command("remove")
def projects_remove(project: Which, user: Who, data: Data = None, config: Config = None) -> None:
    """Take a user out of a project."""
    from everloom.cli import organization

    asyncio.run(organization.remove_member(settings_of(data, config), project, user))


@keys.command("create")
def keys_create(
    project: Annotated[
        str | None,
        typer.Option(help="A project's id or name; by that name one is made if need be.", show_default=False),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="A key for the organization, not for a project.")] = False,
    user: KeyUser = None,
    name: Annotated[str | None, typer.Option(help="What people call it.", show_default=False)] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="It may read and nothing else.")] = False,
    scope: Annotated[
        list[str] | None, typer.Option(help="It may do this, as api.files.read, and what else is named so.")
    ] = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a key and show it, this once. It may do what its user may, and no more."""
    from everloom.cli import organization

    if admin and project is not None:
        raise typer.BadParameter("an admin key belongs to no project; leave out --project or --admin")
    if admin + read_only + bool(scope) > 1:
        raise typer.BadParameter("--admin, --read-only and --scope exclude each other")
    settings = settings_of(data, config)
    if admin:
        asyncio.run(organization.create_admin_key(settings, name=name, user=user))
    else:
        making = organization.create_key(settings, project, name=name, user=user, read_only=read_only, scopes=scope)
        asyncio.run(making)


@keys.command("list")
def keys_list(
    project: Annotated[str | None, typer.Option(help="A project's id or name.", show_default=False)] = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show the keys, by default of all projects and of the organization."""
    from everloom.cli import organization

    asyncio.run(organization.list_keys(settings_of(data, config), project, as_json=as_json))


@keys.command("delete")
def keys_delete(
    key: Annotated[str, typer.Argument(help="A key's id.")], data: Data = None, config: Config = None
) -> None:
    """Have a key open nothing any more; a running server stops taking it within two seconds."""
    from everloom.cli import organization

    asyncio.run(organization.delete_key(settings_of(data, config), key))
