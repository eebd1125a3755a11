"""``everloom batches``: files of requests handed to a running server, watched, and their answers fetched."""

from pathlib import Path
from typing import Annotated

import typer

from everloom.cli.options import AsJson, Config, Data, ProjectKey, Url, settings_of
from everloom.objects.batches import Endpoint

batches = typer.Typer(help="Files of requests that a running server answers within a day.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="A batch's id.", show_default=False)]
Watch = Annotated[bool, typer.Option("--watch", help="Stay until it has ended, and show how far it is.")]
Output = Annotated[
    Path | None, typer.Option(help="Stay until it has ended, and write its answers here.", show_default=False)
]
Errors = Annotated[
    Path | None,
    typer.Option(help="Stay until it has ended, and write here what came of lines that failed.", show_default=False),
]


@batches.command("create")
def batches_create(
    file: Annotated[
        Path, typer.Argument(help="A file of JSON Lines, a request a line.", exists=True, dir_okay=False, readable=True)
    ],
    endpoint: Annotated[Endpoint, typer.Option(help="What its lines ask for.")] = "/v1/chat/completions",
    metadata: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, kept with the batch; may be repeated.", show_default=False)
    ] = None,
    watch: Watch = False,
    output: Output = None,
    errors: Errors = None,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Upload a file and have its requests answered. Status 1 where a batch that was watched has not answered all."""
    from everloom.cli.batches import Commands

    pairs = [text.partition("=") for text in metadata or []]
    for name, is_there, _ in pairs:
        if not name or not is_there:
            raise typer.BadParameter(f"{name!r} is not of the form KEY=VALUE", param_hint="--metadata")
    commands = Commands(settings_of(data, config), url, key, as_json=as_json)
    values = {name: value for name, _, value in pairs}
    raise typer.Exit(commands.create(file, endpoint, values, watch=watch, output=output, errors=errors))


@batches.command("list")
def batches_list(
    limit: Annotated[int, typer.Option(help="How many, from the newest on.", min=1)] = 20,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show the project's batches, the newest first."""
    from everloom.cli.batches import Commands

    Commands(settings_of(data, config), url, key, as_json=as_json).list_newest(limit)


@batches.command("show")
def batches_show(
    batch: Which,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show a batch as it stands, with what is wrong with its file."""
    from everloom.cli.batches import Commands

    Commands(settings_of(data, config), url, key, as_json=as_json).show(batch)


@batches.command("watch")
def batches_watch(
    batch: Which,
    output: Output = None,
    errors: Errors = None,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Stay until a batch has ended, and show how far it is. Status 1 where it has not answered all."""
    from everloom.cli.batches import Commands

    commands = Commands(settings_of(data, config), url, key, as_json=as_json)
    raise typer.Exit(commands.watch(batch, output=output, errors=errors))


@batches.command("retry")
def batches_retry(
    batch: Which,
    watch: Watch = False,
    output: Output = None,
    errors: Errors = None,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a new batch of the requests of one that are in its error file."""
    from everloom.cli.batches import Commands

    commands = Commands(settings_of(data, config), url, key, as_json=as_json)
    raise typer.Exit(commands.retry(batch, watch=watch, output=output, errors=errors))


@batches.command("cancel")
def batches_cancel(
    batch: Which,
    url: Url = None,
    key: ProjectKey = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Have nothing more be asked of a batch. What is answered stays."""
    from everloom.cli.batches import Commands

    Commands(settings_of(data, config), url, key, as_json=as_json).cancel(batch)
