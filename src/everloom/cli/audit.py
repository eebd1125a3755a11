"""``everloom audit``: the audit log as it lies in the database, read without a server and without changing anything."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from everloom.cli import CommandError
from everloom.cli.tables import say, show
from everloom.config import AUDIT_KEY_FILE, Settings
from everloom.evidence.keys import PublicKey
from everloom.evidence.witness import read_witness
from everloom.kit import log
from everloom.kit.errors import ApiError
from everloom.objects.audit import AuditQuery, Checkpoint
from everloom.objects.base import JsonObject, encode
from everloom.objects.projects import Project
from everloom.store.base import SYSTEM, Database
from everloom.work.organization.audit_logs import all_rows, export_form, list_audit_logs
from everloom.work.organization.audit_verification import Verification, verify

_COLUMNS = ("effective_at", "type", "resource", "project", "actor", "from", "id")
_PAGE = 100


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Database]:
    """The database of the settings, opened to be read. A ``CommandError`` where it cannot be."""
    log.setup("warning", settings.log_format)
    if (file := settings.sqlite_file) is not None:
        from everloom.store.sqlite import SqliteDatabase

        database: Database = SqliteDatabase(file, read_only=True)
    else:
        from everloom.store.postgres import PostgresDatabase

        database = PostgresDatabase(settings.database, read_only=True)
    try:
        await database.open()
    except Exception as error:
        raise CommandError(log.mask(f"cannot open the database: {str(error) or type(error).__name__}")) from error
    try:
        yield database
    except ApiError as error:
        raise CommandError(error.message) from error
    finally:
        await database.close()


# --- list and export -----------------------------------------------------------------------------------------------


async def list_events(
    settings: Settings,
    *,
    limit: int,
    types: Sequence[str],
    projects: Sequence[str],
    actors: Sequence[str],
    resources: Sequence[str],
    since: str | None,
    until: str | None,
    as_json: bool,
) -> None:
    """Show the newest events that fit, the newest first."""
    async with reading(settings) as database:
        query = AuditQuery(
            types=tuple(types),
            project_ids=tuple([await _project(database, name) for name in projects]),
            actor_ids=tuple(actor for actor in actors if "@" not in actor),
            actor_emails=tuple(actor.lower() for actor in actors if "@" in actor),
            resource_ids=tuple(resources),
            since=_second(since, "--since"),
            until=_second(until, "--until"),
        )
        found: list[JsonObject] = []
        while len(found) < limit:
            after = found[-1]["id"] if found else None
            asked = msgspec.structs.replace(query, after=after, limit=min(_PAGE, limit - len(found)))
            page = await list_audit_logs(database.audit, asked)
            found += page.decode()
            if not page.has_more:
                break
    if as_json:
        say(found)
    else:
        show([_line(event) for event in found], _COLUMNS, as_json=False)


def _line(event: JsonObject) -> JsonObject:
    actor = event["actor"].get("api_key") or event["actor"].get("session") or {}
    who = actor.get("user") or actor.get("service_account") or {}
    return event | {
        "resource": event[event["type"]].get("id"),
        "project": event.get("project", {}).get("name"),
        "actor": who.get("email") or who.get("id"),
        "from": actor.get("ip_address") or actor.get("id") or actor.get("user_agent"),
    }


async def _project(database: Database, name: str) -> str:
    """The id of a project that is named by it or by its name, be it archived."""
    if name.startswith("proj_"):
        return name
    found = await database.store(SYSTEM).all(Project, name=name)
    if len(found) == 1:
        return found[0].id
    raise CommandError(
        f"{len(found) or 'no'} projects are called {name!r}; 'everloom projects list --archived' has their ids"
    )


async def export(settings: Settings, out: Path | None, since: str | None, until: str | None) -> None:
    """Write every event of a time, the oldest first, a JSON object a line."""
    first, last = _second(since, "--since"), _second(until, "--until")
    async with reading(settings) as database:
        with out.open("wb") if out else nullcontext(sys.stdout.buffer) as file:
            async for row in all_rows(database.audit):
                if (first is None or row.effective_at >= first) and (last is None or row.effective_at <= last):
                    file.write(encode(export_form(row)) + b"\n")
            file.flush()
            if out:
                os.fsync(file.fileno())


def _second(text: str | None, option: str) -> int | None:
    """A Unix second, or a date or time of ISO 8601, of UTC where it names no zone."""
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{option}: expected Unix seconds, or a time as 2024-12-31T23:59:59Z", status=2) from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


# --- verify --------------------------------------------------------------------------------------------------------


async def verify_log(settings: Settings, witnesses: Sequence[Path], keys: Sequence[Path], *, as_json: bool) -> bool:
    """Say whether the audit log is what was written, and what is the first that is not."""
    trusted = [_public_key(path) for path in keys] or [_public_key(_key_path(settings))]
    seen, notes = _remembered(witnesses or [settings.audit_witness])
    async with reading(settings) as database:
        found = await verify(database.audit, seen, lambda each: any(key.has_signed(each) for key in trusted))
    if as_json:
        say(_report(found, notes))
    else:
        for line in _told(found, notes):
            print(line)
    return not found.faults


def public_key(settings: Settings) -> str:
    """The public half of the key that signs, as PEM."""
    return _public_key(_key_path(settings)).pem


def _key_path(settings: Settings) -> Path:
    return settings.data / AUDIT_KEY_FILE if settings.audit_key == Path() else settings.audit_key


def _public_key(path: Path) -> PublicKey:
    try:
        return PublicKey.read(path)
    except (OSError, ValueError) as error:
        raise CommandError(f"no key in {path}: {error}") from error


def _remembered(paths: Sequence[Path]) -> tuple[list[Checkpoint] | None, list[str]]:
    """What all witnesses together remember, None where one is not there, and what is to be said of them."""
    found: list[Checkpoint] = []
    notes = []
    missing = False
    for path in paths:
        try:
            checkpoints, illegible = read_witness(path)
        except OSError as error:
            notes.append(f"{path}: {error.strerror}")
            missing = True
            continue
        found += checkpoints
        notes += [f"{path}: line {number} is no checkpoint; a crash may have cut it off" for number in illegible]
    return None if missing else found, notes


def _report(found: Verification, notes: Sequence[str]) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "hash": found.hash.hex(),
        "signed": found.signed,
        "faults": [{"seq": fault.seq, "text": fault.text} for fault in found.faults],
        "notes": notes,
    }


def _told(found: Verification, notes: Sequence[str]) -> list[str]:
    lines = [f"note: {note}" for note in notes]
    lines += [f"FAULT: {fault.text}" for fault in found.faults]
    lines.append(f"{found.rows} rows are good; the hash of the last is {found.hash.hex()}")
    if found.signed is None:
        lines.append("No checkpoint vouches for any of them.")
    else:
        when = datetime.fromtimestamp(found.signed.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        lines.append(f"Signed up to row {found.signed.seq}, at {when}, by key {found.signed.key}")
    return lines


def run(settings: Settings, witnesses: Sequence[Path], keys: Sequence[Path], *, as_json: bool) -> int:
    """The exit status of ``everloom audit verify``."""
    return 0 if asyncio.run(verify_log(settings, witnesses, keys, as_json=as_json)) else 1
