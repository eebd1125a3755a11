"""The default models' weights: fetched by a person (``everloom models pull``) or beside a first ``serve``.

``python -m everloom.cli.weights FOLDER`` is the fetch in a process of its own: its download and hashing take
nothing from a server's loop, and it can be ended at any moment.
"""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from everloom.app.pulled import DEFAULTS, missing, unneeded
from everloom.cli import CommandError
from everloom.config import Settings
from everloom.kit.errors import ModelFailure
from everloom.models.files.weights import Weight, Weights, fetch_with_bar


def pull(settings: Settings, wanted: Sequence[Weight] = DEFAULTS) -> None:
    """Fetch what is not here yet, with a progress bar."""
    fetch(settings.weights, wanted)
    print(f"The default models' weights are in {settings.weights}")


async def fetch_beside(settings: Settings) -> None:
    """Fetch what a first start lacks while the server serves; ends the fetch when cancelled.

    A request for a local model meanwhile waits for the same files.
    """
    if not settings.fetch_weights or unneeded(settings) or not missing(settings):
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "everloom.cli.weights", str(settings.weights)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the server, which ends the fetch itself.
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def fetch(folder: Path, wanted: Sequence[Weight] = DEFAULTS) -> None:
    """Fetch what is not in the folder yet, with a progress bar. ``CommandError`` where that cannot be."""
    weights = Weights(folder)
    try:
        for weight in wanted:
            fetch_with_bar(weights, weight)
    except ModelFailure as error:
        raise CommandError(error.message) from error
    except OSError as error:
        raise CommandError(f"cannot keep the weights in {folder}: {error.strerror or error}") from error


def _main() -> NoReturn:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that pip is ended and its files are cleared away.
    try:
        fetch(Path(sys.argv[1]))
    except CommandError as error:
        sys.exit(f"everloom: {error}")
    sys.exit(0)


if __name__ == "__main__":
    _main()
