"""What the server does with every child process in which a model runs: hears it out, and ends it."""

import asyncio
from asyncio.subprocess import Process
from contextlib import suppress

from everloom.models.subprocesses.framing import LENGTH

EXIT_S = 5.0
"""How long a child may take to end by itself once its input has."""

_LONGEST = 1 << 30


async def next_frame(process: Process) -> bytes:
    """What the child says next (``frames.write_frame``). ``asyncio.IncompleteReadError`` when it has ended."""
    assert process.stdout is not None
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if length > _LONGEST:
        raise asyncio.IncompleteReadError(b"", length)  # no message of ours: something else wrote into the pipe
    return await process.stdout.readexactly(length)


async def end(process: Process, *, at_once: bool = False) -> None:
    """End a child: by the end of its input, by force when that does not do, or ``at_once``."""
    if process.stdin is not None:
        process.stdin.close()
    if at_once:
        kill(process)
    try:
        await asyncio.wait_for(process.wait(), EXIT_S)
    except TimeoutError:
        kill(process)
        await process.wait()


def kill(process: Process) -> None:
    """End a child by force, if it has not ended."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
