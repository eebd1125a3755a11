"""``everloom audit``: the audit log as it lies in the database, read without a server and without changing anything."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from everloom.cli import CommandError
from everloom.cli.database import cannot_open, must_stand
from everloom.cli.tables import say, show
from everloom.config import AUDIT_KEY_FILE, Settings
from everloom.evidence.keys import KeyFile, PublicKey
from everloom.evidence.witness import read_witness
from everloom.kit import log
from everloom.kit.errors import ApiError
from everloom.objects.audit import AuditQuery, Checkpoint
from everloom.objects.base import JsonObject, encode
from everloom.objects.projects import Project
from everloom.store.base import SYSTEM, Database
from everloom.work.organization.audit_logs import all_rows, export_form, list_audit_logs
from everloom.work.organization.audit_verification import Verification, verify
from everloom.work.organization.checkpoints import ChainBroken, accept

_COLUMNS = ("effective_at", "type", "resource", "project", "actor", "from", "id")
_PAGE = 100
_ALWAYS = 2**63


@asynccontextmanager
async def reading(settings: Settings, *, read_only: bool = True) -> AsyncIterator[Database]:
    """The database of the settings, opened to be read, or written to. A ``CommandError`` where it cannot be."""
    log.setup("warning", settings.log_format)
    await must_stand(settings)
    if (file := settings.sqlite_file) is not None:
        from everloom.store.sqlite import SqliteDatabase

        database: Database = SqliteDatabase(file, read_only=read_only)
    else:
        from everloom.store.postgres import PostgresDatabase

        database = PostgresDatabase(settings.database, read_only=read_only)
    try:
        await database.open()
    except Exception as error:
        raise cannot_open(settings, error) from error
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
        "resource": "(illegible)" if event.get("illegible") else event[event["type"]].get("id"),
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
        with _opened(out) if out else nullcontext(sys.stdout.buffer) as file:
            async for row in all_rows(database.audit):
                event = export_form(row)
                if (first or 0) <= event["effective_at"] <= (_ALWAYS if last is None else last):
                    file.write(encode(event) + b"\n")
            file.flush()
            if out:
                os.fsync(file.fileno())


def _opened(out: Path) -> BinaryIO:
    try:
        return out.open("wb")
    except OSError as error:
        raise CommandError(f"cannot write {out}: {error.strerror}") from error


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
    notes = []
    trusted = [_public_key(path) for path in keys]
    if not keys and (settings.audit_key != Path() or _key_path(settings).exists()):
        trusted = [_public_key(_key_path(settings))]
    elif not keys:
        notes.append(f"there is no key in {_key_path(settings)}, so that no signature can be looked at")
    seen = _remembered(witnesses or [settings.audit_witness], notes)
    # Of a key that the settings name nobody knows whether it has signed.
    made = KeyFile(settings.data / AUDIT_KEY_FILE, make=settings.audit_key == Path())
    has_signed = bool(keys or witnesses or made.has_signed_before())
    async with reading(settings) as database:
        found = await verify(
            database.audit,
            None if seen is None else [each for checkpoints, _ in seen for each in checkpoints],
            lambda each: any(key.has_signed(each) for key in trusted),
            illegible={number: line for _, lines in seen or () for number, line in lines.items()},
            has_signed=has_signed,
        )
    if as_json:
        say(_report(found, notes))
    else:
        for line in _told(found, notes):
            print(line)
    return not found.faults


def public_key(settings: Settings) -> str:
    """The public half of the key that signs, as PEM."""
    path = _key_path(settings)
    if settings.audit_key == Path() and not path.exists():
        raise CommandError(f"there is no key in {path} yet: it is made by the first server that signs")
    return _public_key(path).pem


async def accept_log(settings: Settings) -> Checkpoint:
    """Begin a witness anew with what the database has, on the operator's word."""
    from everloom.app import evidence

    log.setup("warning", settings.log_format)
    try:
        made = evidence(settings)
    except ValueError as error:
        raise CommandError(str(error)) from error
    async with reading(settings, read_only=False) as database:
        try:
            return await accept(database.audit, made)
        except (ChainBroken, OSError, ValueError) as error:
            raise CommandError(f"{error}; nothing was accepted") from error


def _key_path(settings: Settings) -> Path:
    return settings.data / AUDIT_KEY_FILE if settings.audit_key == Path() else settings.audit_key


def _public_key(path: Path) -> PublicKey:
    try:
        return PublicKey.read(path)
    except OSError as error:
        raise CommandError(f"no key in {path}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"no key in {path}: {error}") from error


def _remembered(paths: Sequence[Path], notes: list[str]) -> list[tuple[list[Checkpoint], dict[int, bytes]]] | None:
    """What each witness remembers, None where one is not there; and what is to be said of them."""
    found: list[tuple[list[Checkpoint], dict[int, bytes]]] = []
    missing = False
    for path in paths:
        try:
            found.append(read_witness(path))
        except OSError as error:
            notes.append(f"{path}: {error.strerror}")
            missing = True
            continue
        notes += [f"{path}: line {number} is no checkpoint; a crash may have cut it off" for number in found[-1][1]]
    return None if missing else found


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
