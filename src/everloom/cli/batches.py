"""What ``everloom batches`` does, by the paths that every client of the API asks."""

import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from everloom.cli import CommandError
from everloom.cli.batch_progress import Follower, failed_lines
from everloom.cli.client import Client, Json, project_client
from everloom.cli.tables import say, show
from everloom.config import Settings

T = TypeVar("T")

_COLUMNS = ("id", "status", "endpoint", "model", "lines", "failed", "tokens", "created_at", "expires_at")
_ERRORS = ("line", "code", "param", "message")
_FILES = (("output_file_id", "answers"), ("error_file_id", "errors"))

MOST_ERRORS = 50
"""Faults of a file that are shown."""

_PAGE = 100


class Commands:
    """The commands against one server, under one key. Errors of all: ``CommandError``."""

    def __init__(self, settings: Settings, url: str | None, key: str | None, *, as_json: bool) -> None:
        self._settings = settings
        self._url = url
        self._key = key
        self._as_json = as_json

    def create(
        self,
        file: Path,
        endpoint: str,
        metadata: dict[str, str],
        *,
        watch: bool,
        output: Path | None,
        errors: Path | None,
    ) -> int:
        """Make a batch of a file; the exit status."""
        for path in (output, errors):
            if path is not None and path.absolute().resolve() == file.absolute().resolve():
                raise CommandError(f"{path} is the file of requests; write what comes of it to another")

        async def make(client: Client) -> Json:
            uploaded = await client.upload("/files", file, purpose="batch")
            asked: Json = {"input_file_id": uploaded["id"], "endpoint": endpoint, "completion_window": "24h"}
            try:
                return await client.post("/batches", asked | ({"metadata": metadata} if metadata else {}))
            except CommandError:
                await client.delete(f"/files/{uploaded['id']}")  # Nobody will ask for it.
                raise

        return self._made(make, watch, output, errors)

    def retry(self, batch_id: str, *, watch: bool, output: Path | None, errors: Path | None) -> int:
        """Make a batch of another one's failed lines; the exit status."""
        return self._made(lambda client: client.post(f"{_path(batch_id)}/retry"), watch, output, errors)

    def watch(self, batch_id: str, *, output: Path | None, errors: Path | None) -> int:
        """Follow a batch to its end; the exit status."""
        return self._made(lambda client: client.get(_path(batch_id)), True, output, errors)

    def list_newest(self, limit: int) -> None:
        """Show the newest batches."""

        async def find(client: Client) -> list[Json]:
            found: list[Json] = []
            more: Json = {}
            while len(found) < limit:
                page = await client.get("/batches", limit=str(min(_PAGE, limit - len(found))), **more)
                found += page["data"]
                if not page["has_more"]:
                    break
                more = {"after": page["last_id"]}
            return found

        found = asyncio.run(self._ask(find))
        show(found if self._as_json else [_row(batch) for batch in found], _COLUMNS, as_json=self._as_json)

    def show(self, batch_id: str) -> None:
        """Show a batch."""
        self._tell(asyncio.run(self._ask(lambda client: client.get(_path(batch_id)))), {})

    def cancel(self, batch_id: str) -> None:
        """Cancel a batch, and show it."""
        self._tell(asyncio.run(self._ask(lambda client: client.post(f"{_path(batch_id)}/cancel"))), {})

    async def _ask(self, what: Callable[[Client], Awaitable[T]]) -> T:
        async with project_client(self._settings, self._url, self._key) as client:
            return await what(client)

    # --- to the end ------------------------------------------------------------------------------------------------

    def _made(
        self, make: Callable[[Client], Awaitable[Json]], watch: bool, output: Path | None, errors: Path | None
    ) -> int:
        """Make a batch or find it, follow it if that is wanted, show it; the exit status."""
        targets = {"output_file_id": output, "error_file_id": errors}
        wanted = {name: path for name, path in targets.items() if path is not None}
        _check_targets(list(wanted.values()))
        follower = Follower() if watch or wanted else None
        try:
            batch, saved = asyncio.run(self._follow(make, follower, wanted))
        except KeyboardInterrupt:
            if follower is None or not follower.batch_id:
                raise CommandError("interrupted before there was a batch", status=130) from None
            text = f"{follower.batch_id} goes on by itself; to watch it again: {self._command('watch', follower)}"
            raise CommandError(text, status=130) from None
        self._tell(batch, saved)
        if follower is None:
            if not self._as_json:
                print(f"To watch it: {self._command('watch', batch['id'])}")
            return 0
        return self._conclude(batch)

    async def _follow(
        self, make: Callable[[Client], Awaitable[Json]], follower: Follower | None, wanted: dict[str, Path]
    ) -> tuple[Json, dict[str, Path]]:
        """A batch, and where its files were written."""
        async with project_client(self._settings, self._url, self._key) as client:
            batch = await make(client)
            if follower is None:
                return batch, {}
            batch = await follower.follow(client, batch)
            saved = {name: path for name, path in wanted.items() if batch[name] is not None}
            for name, path in saved.items():
                await client.download(f"/files/{quote(batch[name], safe='')}/content", path)
            for name in wanted.keys() - saved.keys():
                _without(batch, wanted[name])
            return batch, saved

    def _conclude(self, batch: Json) -> int:
        """The exit status of a batch that was followed, and what could be done about it."""
        failed = failed_lines(batch)
        if batch["status"] == "completed" and not failed:
            return 0
        if batch["status"] == "completed":
            text = f"{failed} of {batch['request_counts']['total']} lines failed"
        else:
            text = f"the batch is {batch['status']}"
        if batch["error_file_id"] is not None:
            text += f"; to ask those lines again: {self._command('retry', batch['id'])} --watch"
        print(f"everloom: {text}", file=sys.stderr)
        return 1

    def _command(self, verb: str, batch: "Follower | str") -> str:
        """A command about this batch at this server."""
        words = ["everloom", "batches", verb, batch if isinstance(batch, str) else batch.batch_id]
        return shlex.join([*words, *(["--url", self._url] if self._url else [])])

    def _tell(self, batch: Json, saved: dict[str, Path]) -> None:
        if self._as_json:
            say(batch)
            return
        show([_row(batch)], _COLUMNS, as_json=False)
        faults = (batch.get("errors") or {}).get("data") or []
        if faults:
            print()
            show(faults[:MOST_ERRORS], _ERRORS, as_json=False)
            if len(faults) > MOST_ERRORS:
                print(f"and {len(faults) - MOST_ERRORS} more (--json has them all)")
        for name, what in _FILES:
            if batch[name] is not None:
                print(f"{what}: {saved.get(name) or batch[name]}")


def _check_targets(paths: Sequence[Path]) -> None:
    """Ask, before anything is uploaded, that files can be written. Errors: ``CommandError``."""
    for path in paths:
        if not path.absolute().parent.is_dir():
            raise CommandError(f"there is no folder {path.absolute().parent} to write {path.name} to")
        if path.is_dir():
            raise CommandError(f"{path} is a folder; name a file to write to")
    if len({path.absolute().resolve() for path in paths}) < len(paths):
        raise CommandError(f"answers and errors cannot both be written to {paths[0]}")


def _without(batch: Json, path: Path) -> None:
    """A file that a batch has nothing for: empty, if it was completed, so that another batch's is not taken for its. Of
    one that was not, what stands there may be all that there is.
    """
    if batch["status"] != "completed":
        print(f"everloom: there is nothing to write to {path}; it is left as it was", file=sys.stderr)
        return
    try:
        path.write_bytes(b"")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror or error}") from error


def _path(batch_id: str) -> str:
    if not batch_id.strip():
        raise CommandError("the id of a batch is missing; 'everloom batches list' shows them")
    return f"/batches/{quote(batch_id, safe='')}"


def _row(batch: Json) -> Json:
    """A batch as a row of a table."""
    counts = batch["request_counts"]
    return batch | {
        "lines": f"{counts['completed'] + counts['failed']}/{counts['total']}",
        "failed": counts["failed"],
        "tokens": (batch.get("usage") or {}).get("total_tokens"),
    }
