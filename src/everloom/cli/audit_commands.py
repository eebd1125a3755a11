"""What can be typed after ``everloom audit``."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from everloom.cli.options import AsJson, Config, Data, settings_of

audit = typer.Typer(help="What was done to the organization, and whether the log of it is whole.", no_args_is_help=True)

Since = Annotated[str | None, typer.Option(help="From this time on: Unix seconds, or as 2024-12-31T23:59:59Z.")]
Until = Annotated[str | None, typer.Option(help="Up to this time.")]


@audit.command("list")
def audit_list(
    limit: Annotated[int, typer.Option(help="How many.", min=1)] = 20,
    type: Annotated[list[str] | None, typer.Option(help="As project.created.")] = None,
    project: Annotated[list[str] | None, typer.Option(help="A project's id or name.")] = None,
    actor: Annotated[list[str] | None, typer.Option(help="A user's id or address, an account's or a key's id.")] = None,
    resource: Annotated[list[str] | None, typer.Option(help="The id of what it happened to.")] = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show events, the newest first."""
    from everloom.cli.audit import list_events

    listing = list_events(
        settings_of(data, config),
        limit=limit,
        types=type or (),
        projects=project or (),
        actors=actor or (),
        resources=resource or (),
        since=since,
        until=until,
        as_json=as_json,
    )
    asyncio.run(listing)


@audit.command("export")
def audit_export(
    out: Annotated[Path | None, typer.Option(help="A file; by default what comes goes to the terminal.")] = None,
    since: Since = None,
    until: Until = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Write all events, the oldest first, a JSON object a line."""
    from everloom.cli.audit import export

    asyncio.run(export(settings_of(data, config), out, since, until))


@audit.command("verify")
def audit_verify(
    witness: Annotated[
        list[Path] | None, typer.Option(help="A witness file; by default as the settings say.", show_default=False)
    ] = None,
    public_key: Annotated[
        list[Path] | None, typer.Option(help="A PEM file; by default the key of the settings.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say it in JSON.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Say whether anything was changed, taken out, put in or cut off; the status is 1 if so."""
    from everloom.cli.audit import run

    raise typer.Exit(run(settings_of(data, config), witness or (), public_key or (), as_json=as_json))


@audit.command("public-key")
def audit_public_key(data: Data = None, config: Config = None) -> None:
    """Show the public half of the key that signs checkpoints, as PEM."""
    from everloom.cli.audit import public_key

    typer.echo(public_key(settings_of(data, config)), nl=False)


@audit.command("accept")
def audit_accept(data: Data = None, config: Config = None) -> None:
    """Have what the database says now signed, and a new witness begun; the old one is put aside.

    For a database that was restored, or a witness that was lost. Look at it first: what was done to it before is not
    told any more.
    """
    from everloom.cli.audit import accept_log

    signed = asyncio.run(accept_log(settings_of(data, config)))
    typer.echo(f"Accepted, and signed up to row {signed.seq}.")
