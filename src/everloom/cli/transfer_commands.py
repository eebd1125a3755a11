"""``everloom import`` and ``everloom export``: objects with their ids and times, in and out of a project."""

from pathlib import Path
from typing import Annotated

import typer

from everloom.cli.options import AsJson, Config, Data, settings_of

InProject = Annotated[
    str | None,
    typer.Option("--project", help="A project's id or name; else the default one.", show_default=False),
]


def import_objects(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of JSON, JSON lines or CSV, and folders of them.", show_default=False),
    ] = None,
    project: InProject = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read all, write nothing, and say what would be.")] = False,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Bring in what was saved of an Assistants API, with its ids and times."""
    from everloom.cli import CommandError
    from everloom.cli.transfer import run_import
    from everloom.work.transfer.reading import api_objects

    if not paths:
        raise CommandError("name files or folders to import")
    settings = settings_of(data, config)
    raise typer.Exit(run_import(settings, paths, project, api_objects, dry_run=dry_run, as_json=as_json))


def export_objects(
    folder: Annotated[Path, typer.Argument(help="A folder that is empty, or not there.")],
    project: InProject = None,
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Write a project's assistants, threads, runs, vector stores and files to a folder, for 'everloom import'."""
    from everloom.cli.transfer import run_export

    raise typer.Exit(run_export(settings_of(data, config), folder, project, as_json=as_json))
