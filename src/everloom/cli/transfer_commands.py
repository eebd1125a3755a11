"""``everloom import`` and ``everloom export``: objects with their ids and times, in and out of a project."""

from pathlib import Path
from typing import Annotated

import typer

from everloom.cli.options import AsJson, Config, Data, settings_of

InProject = Annotated[
    str | None,
    typer.Option("--project", help="A project's id or name; else the default one.", show_default=False),
]


Paths = Annotated[
    list[Path] | None,
    typer.Argument(help="Files of JSON, JSON lines or CSV, and folders of them.", show_default=False),
]
MappingFile = Annotated[
    Path | None,
    typer.Option("--mapping", help="A TOML file that says what documents of one's own mean.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read all, write nothing, and say what would be.")]
From = Annotated[
    str | None,
    typer.Option("--from", help="Base URL of a server to fetch from, in place of files.", show_default=False),
]
KeyEnv = Annotated[str, typer.Option(help="The environment variable with the key for --from.")]
Threads = Annotated[
    Path | None,
    typer.Option(
        help="With --from: a file of ids of threads, or of records that name them, one a line.", show_default=False
    ),
]
ApiVersion = Annotated[
    str | None, typer.Option(help="With --from an Azure resource: its api-version.", show_default=False)
]


def import_objects(
    paths: Paths = None,
    project: InProject = None,
    mapping: MappingFile = None,
    dry_run: DryRun = False,
    url: From = None,
    key_env: KeyEnv = "OPENAI_API_KEY",
    threads: Threads = None,
    api_version: ApiVersion = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Bring in what was saved of an Assistants API, or what a server has, with its ids and times."""
    from everloom.cli import CommandError
    from everloom.cli.transfer import run_import

    settings = settings_of(data, config)
    if (url is None) == (not paths):
        raise CommandError("name files or folders to import, or a server with --from")
    if url is None:
        raise typer.Exit(run_import(settings, paths or [], project, mapping, dry_run=dry_run, as_json=as_json))
    from everloom.cli.transfer_remote import run_remote_import

    status = run_remote_import(settings, url, key_env, project, threads, api_version, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(status)


def export_objects(
    folder: Annotated[Path, typer.Argument(help="A folder that is empty, or not there.")],
    project: InProject = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Write a project's assistants, threads, runs, vector stores, batches and files to a folder, for an import."""
    from everloom.cli.transfer import run_export

    raise typer.Exit(run_export(settings_of(data, config), folder, project, as_json=as_json))
