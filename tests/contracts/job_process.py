"""A process with jobs, for tests that kill it: ``python -m tests.contracts.job_process DATABASE FOLDER [OPTIONS]``.

Commands come in on standard input, a line each (``start KIND KEY [LANE]``, ``stop GRACE``), and are answered on
standard output when they are done. Jobs append what they do to ``FOLDER/log`` and wait for ``FOLDER/release``. With
``--no-work`` it only starts jobs. With ``--die`` the process is gone, as by ``kill -9``, once it has kept a job and
before its engine has heard of it. With ``--deaf`` it neither calls other processes nor hears them. ``--stale SECONDS``:
how long a worker may be silent before others take it for dead.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import cast

from everloom.objects.jobs import Lane
from everloom.store.base import Start
from tests.contracts.engines import engine_on
from tests.store.databases import database_at


async def main(where: str, folder: Path, options: list[str], stale: float) -> None:
    """Serve commands until standard input ends or ``stop`` comes."""

    def note(*words: str) -> None:
        with (folder / "log").open("a") as log:
            log.write(" ".join([*words, str(os.getpid())]) + "\n")

    async def quick(project: str, key: str) -> None:
        note("entered", key)
        note("ended", key)

    async def slow(project: str, key: str) -> None:
        note("entered", key)
        try:
            while not (folder / "release").exists():  # noqa: ASYNC110 - another process makes the file
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            note("cancelled", key)
            raise
        note("ended", key)

    async def broken(project: str, key: str) -> None:
        note("entered", key)
        raise ValueError("this job is broken")

    database = database_at(where)
    await database.open()
    jobs = engine_on(database, where, stale=stale, deaf="--deaf" in options)
    if "--die" in options:
        database.on_start = lambda jobs: os.kill(os.getpid(), signal.SIGKILL)
    await jobs.launch({"quick": quick, "slow": slow, "broken": broken}, work="--no-work" not in options)
    print("launched", flush=True)
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        match line.split():
            case ["start", kind, key, *lane]:
                await database.store("proj_1").write(Start(kind, key, cast(Lane, lane[0] if lane else "live")))
            case ["stop", grace]:
                await jobs.stop(float(grace))
                await database.close()
        print(line.strip(), flush=True)
        if line.startswith("stop"):
            break


if __name__ == "__main__":
    stale = float(sys.argv[sys.argv.index("--stale") + 1]) if "--stale" in sys.argv else 3.0
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:], stale))
