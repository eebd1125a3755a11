"""A process with jobs, for tests that kill it: ``python -m tests.contracts.job_process DATABASE FOLDER [--no-work]``.

Commands come in on standard input, a line each (``start KIND KEY``, ``stop GRACE``), and are answered on
standard output when they are done. Jobs append what they do to ``FOLDER/log`` and wait for ``FOLDER/release``.
"""

import asyncio
import os
import sys
from pathlib import Path

from everloom.jobs.dbos import DbosJobs


async def main(database: str, folder: Path, work: bool) -> None:
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

    jobs = DbosJobs(database, stale=3.0)
    await jobs.launch({"quick": quick, "slow": slow, "broken": broken}, work=work)
    print("launched", flush=True)
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        match line.split():
            case ["start", kind, key]:
                await jobs.start(kind, "proj_1", key)
            case ["stop", grace]:
                await jobs.stop(float(grace))
        print(line.strip(), flush=True)
        if line.startswith("stop"):
            break


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), "--no-work" not in sys.argv))
