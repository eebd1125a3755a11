"""What many commands take, and the settings that come of it."""

from pathlib import Path
from typing import Annotated

import typer

from everloom.config import Settings, load

Data = Annotated[Path | None, typer.Option(help="Folder for database, files and weights.", show_default=False)]
Config = Annotated[
    Path | None, typer.Option(help="Settings file; by default everloom.toml, if it is here.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Say it in JSON, in the shapes of the API.")]
Url = Annotated[str | None, typer.Option(help="Base URL of the server; by default this machine's.", show_default=False)]
ProjectKey = Annotated[
    str | None,
    typer.Option(
        help="A project's key; by default EVERLOOM_API_KEY, or OPENAI_API_KEY (for OPENAI_BASE_URL, if that is set).",
        show_default=False,
    ),
]


def settings_of(data: Path | None, config: Path | None, **flags: object) -> Settings:
    """The settings by flags, environment and file."""
    return load({"data": data, **flags}, file=config)
