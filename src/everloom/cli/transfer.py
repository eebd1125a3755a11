"""What ``everloom import`` of files and ``everloom export`` do, on the database, beside a running server or none."""

import asyncio
import sqlite3
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from msgspec import Struct, field

from everloom.cli import CommandError
from everloom.cli.tables import printable, say, show
from everloom.cli.telling import in_project
from everloom.cli.transfer_progress import Bars, progress
from everloom.config import Settings
from everloom.kit.temporary_folders import temporary_folder
from everloom.objects.base import JsonObject
from everloom.work.transfer.exporting import Exporting
from everloom.work.transfer.mapping import Mapping, WrongMapping
from everloom.work.transfer.reading import Reader, Reading
from everloom.work.transfer.shapes import NOUNS
from everloom.work.transfer.stage import Stage
from everloom.work.transfer.taking import Report, Taking

MOST_FAULTS = 50
"""What was not taken, and why, as far as it is shown; ``--json`` has all."""

_COLUMNS = ("object", "taken", "unchanged", "skipped")


class ImportOutcome(Struct):
    """What came of an import, or of several steps of one."""

    report: Report = field(default_factory=Report)
    left_out: Counter[str] = field(default_factory=Counter)
    unfinished: int = 0
    dry_run: bool = False


def run_import(
    settings: Settings,
    paths: Sequence[Path],
    project: str | None,
    mapping: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Import files and folders; the exit status."""
    for path in paths:
        if not path.exists():
            raise CommandError(f"there is no file or folder {path}")
    try:
        reader = Mapping(mapping).read if mapping is not None else None
    except WrongMapping as error:
        raise CommandError(str(error)) from error
    return interruptible(_import(settings, paths, project, reader, dry_run, as_json), "import")


async def _import(
    settings: Settings, paths: Sequence[Path], project: str | None, reader: Reader | None, dry_run: bool, as_json: bool
) -> int:
    async with temporary_folder() as folder, in_project(settings, project) as ctx:
        stage = Stage(folder / "stage.db")
        try:
            with progress() as bars:
                reading = Reading(stage, reader)
                reading.told = lambda done, total: bars.tell("reading", done, total)
                await reading.read(paths)
                taking = Taking(ctx, stage, dry=dry_run)
                taking.told = lambda done, total: bars.tell("writing", done, total)
                await taking.take()
            outcome = ImportOutcome(taking.report, reading.left_out, reading.unfinished, dry_run)
            return tell_outcome(stage, outcome, as_json=as_json)
        finally:
            stage.close()


def tell_outcome(stage: Stage, outcome: ImportOutcome, *, as_json: bool) -> int:
    """Say what came of an import; the exit status: 1 where something was not taken."""
    skipped = stage.count_faults()
    report = outcome.report
    if as_json:
        counts = {"taken": report.taken, "unchanged": report.unchanged, "skipped": skipped}
        rest = {"unfinished": outcome.unfinished, "left_out": outcome.left_out, "dry_run": outcome.dry_run}
        say({**counts, **rest, "faults": list(stage.faults())})
        return 1 if skipped else 0
    show(_rows(report, skipped), _COLUMNS, as_json=False)
    if outcome.dry_run:
        print("Nothing was written: --dry-run")
    if outcome.unfinished:
        print(f"{outcome.unfinished} had not ended when they were saved (runs, steps, messages): taken as expired")
    for name, count in sorted(outcome.left_out.items()):
        print(f"left out: {printable(name)}, which this server does not know ({count} times)")
    for fault in stage.faults(MOST_FAULTS):
        _say_fault(fault)
    if (more := sum(skipped.values()) - MOST_FAULTS) > 0:
        print(f"and {more} more (--json has them all)")
    return 1 if skipped else 0


def _rows(report: Report, skipped: dict[str, int]) -> list[JsonObject]:
    counts = {"taken": report.taken, "unchanged": report.unchanged, "skipped": skipped}
    return [
        {"object": name or "(no object)", **{what: some.get(name, 0) for what, some in counts.items()}}
        for name in [*NOUNS, *(name for name in skipped if name not in NOUNS)]
        if any(some.get(name) for some in counts.values())
    ]


def _say_fault(fault: dict[str, Any]) -> None:
    place = f"{fault['file']}:{fault['line']}: " if fault["file"] else ""
    what = " ".join(part for part in (fault["object"], fault["id"]) if part)
    print(printable(f"{place}{what + ': ' if what else ''}{fault['why']}"))


def interruptible(work: Any, what: str) -> int:
    """The exit status of work that may be begun again. Errors: ``CommandError``."""
    try:
        return int(asyncio.run(work))
    except KeyboardInterrupt:
        text = "what was imported so far stands; begin the import again to have the rest"
        if what == "export":
            text = "what stands in the folder is not whole; begin the export again, in an empty one"
        raise CommandError(f"interrupted; {text}", status=130) from None
    except sqlite3.Error as error:  # of a stage: the server's own database is away by an error of its own
        raise CommandError(f"the {what} failed in the temporary folder {gettempdir()} (TMPDIR): {error}") from error
    except OSError as error:
        raise CommandError(f"the {what} failed: {error}") from error


# --- export ----------------------------------------------------------------------------------------------------------


def run_export(settings: Settings, folder: Path, project: str | None, *, as_json: bool) -> int:
    """Export a project to a folder that is empty or not there; the exit status."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CommandError(f"{folder} is not empty; name a folder of its own for an export")
    except OSError as error:
        raise CommandError(f"{folder} cannot be written: {error.strerror or error}") from error
    return interruptible(_export(settings, folder, project, as_json), "export")


async def _export(settings: Settings, folder: Path, project: str | None, as_json: bool) -> int:
    async with in_project(settings, project) as ctx:
        exporting = Exporting(ctx, folder)
        with progress() as bars:
            exporting.told = _counted(bars)
            await exporting.export()
    if as_json:
        say({"written": exporting.written, "faults": exporting.faults})
    else:
        rows = [{"object": name, "written": exporting.written[name]} for name in NOUNS if exporting.written[name]]
        show(rows, ("object", "written"), as_json=False)
        for fault in exporting.faults:
            print(printable(f"{fault['object']} {fault['id']}: {fault['why']}"), file=sys.stderr)
    return 1 if exporting.faults else 0


def _counted(bars: Bars) -> Any:
    return lambda done: bars.tell("writing", done)
