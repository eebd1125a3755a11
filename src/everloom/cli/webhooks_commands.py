"""``everloom webhooks``: where a project is told of what happens in it, for whoever has the database."""

import asyncio
from typing import Annotated

import typer

from everloom.cli.options import AsJson, Config, Data, settings_of

webhooks = typer.Typer(help="Where projects are told of what happens in them.", no_args_is_help=True)

InProject = Annotated[
    str | None,
    typer.Option("--project", help="A project's id or name; else the default one.", show_default=False),
]
Endpoint = Annotated[str, typer.Argument(help="An endpoint's id.")]
Events = Annotated[
    list[str] | None, typer.Option("--event", help="A type of event, as batch.completed, and what else is named so.")
]


@webhooks.command("list")
def webhooks_list(project: InProject = None, as_json: AsJson = False, data: Data = None, config: Config = None) -> None:
    """Show the endpoints of a project."""
    from everloom.cli import webhooks

    asyncio.run(webhooks.list_endpoints(settings_of(data, config), project, as_json=as_json))


@webhooks.command("create")
def webhooks_create(
    url: Annotated[str, typer.Argument(help="Where events are posted to.")],
    event: Events = None,
    name: Annotated[str, typer.Option(help="What people call it.")] = "everloom webhooks create",
    project: InProject = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make an endpoint, by default for all events, and show the secret that signs them, this once."""
    from everloom.cli import webhooks
    from everloom.objects.webhooks import EVENT_TYPES

    types = event or [*EVENT_TYPES]
    asyncio.run(webhooks.create(settings_of(data, config), project, url, name, types, as_json=as_json))


@webhooks.command("update")
def webhooks_update(
    endpoint: Endpoint,
    url: Annotated[str | None, typer.Option(help="Where events are posted to.", show_default=False)] = None,
    event: Events = None,
    name: Annotated[str | None, typer.Option(help="What people call it.", show_default=False)] = None,
    project: InProject = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Change an endpoint; what is left out stays."""
    from everloom.cli import webhooks

    given = {"url": url, "name": name, "event_types": event}
    changes = {key: value for key, value in given.items() if value}
    asyncio.run(webhooks.update(settings_of(data, config), project, endpoint, changes, as_json=as_json))


@webhooks.command("delete")
def webhooks_delete(endpoint: Endpoint, project: InProject = None, data: Data = None, config: Config = None) -> None:
    """Take an endpoint away, with all that waits for it."""
    from everloom.cli import webhooks

    asyncio.run(webhooks.delete(settings_of(data, config), project, endpoint))


@webhooks.command("rotate")
def webhooks_rotate(
    endpoint: Endpoint,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="The old secret signs, too, for 24 hours.")] = False,
    project: InProject = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Give an endpoint another secret, and show it, this once."""
    from everloom.cli import webhooks

    asyncio.run(webhooks.rotate(settings_of(data, config), project, endpoint, keep=keep_old, as_json=as_json))


@webhooks.command("test")
def webhooks_test(
    endpoint: Endpoint,
    event: Annotated[str, typer.Option("--event", help="The type of event.")] = "batch.completed",
    project: InProject = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Send a sample of an event to an endpoint, and say how it was answered."""
    from everloom.cli import webhooks

    asyncio.run(webhooks.test(settings_of(data, config), project, endpoint, event, as_json=as_json))
