"""``everloom backup``: a copy of the data folder beside a running server."""

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Annotated

import typer

from everloom.cli import CommandError
from everloom.cli.options import AsJson, Config, Data, settings_of


def backup(
    folder: Annotated[Path, typer.Argument(help="Where to: a folder that is not there yet, or empty.")],
    as_json: AsJson = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Copy database, files, keys and added models of one moment, beside a running server: a data folder to start on."""
    from everloom.cli.backup import Backup
    from everloom.cli.database import must_stand
    from everloom.cli.own_server import ending_by_signals
    from everloom.cli.tables import say
    from everloom.cli.transfer_progress import progress

    settings = settings_of(data, config)
    asyncio.run(must_stand(settings))
    try:
        with ending_by_signals(), progress() as bars:
            report = Backup(settings, folder, bars.tell).make()
    except (OSError, sqlite3.Error) as error:
        raise CommandError(f"the backup failed, and left nothing: {error}") from error
    except KeyboardInterrupt:
        raise CommandError("interrupted; the backup left nothing", status=130) from None
    if as_json:
        say(report)
        return
    print(f"{folder}: {report.files} files, {report.bytes / 1e6:.1f} MB: {', '.join(report.contains)}")
    for what in report.left_out:
        print(f"not in it: {what}", file=sys.stderr)
    print(
        f"To restore: stop the server, put the folder in place of its data, start; or 'everloom serve --data {folder}'"
    )
