"""The Python that runs in the sandboxes: the server's own, or another with its own libraries."""

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from msgspec import Struct

from everloom.sandbox.base import SandboxUnavailable

_QUESTION = """
import importlib.util, json, sys
print(json.dumps([sys.executable, sys.prefix, sys.base_prefix, bool(importlib.util.find_spec("ipykernel"))]))
"""
_PARTS = ("bin", "lib", "lib32", "lib64", "share", "pyvenv.cfg")
"""What of an interpreter's prefix is shown: not the whole, since a project with its data may stand around it."""
_SECONDS = 20.0


class Interpreter(Struct, frozen=True):
    executable: str
    trees: dict[str, str]
    """Folders and files to be shown beyond /usr: where in the sandbox -> where on this machine."""


async def look_at(python: Path) -> Interpreter:
    """Ask an interpreter where it stands and whether it has a kernel. Errors: ``SandboxUnavailable``."""
    try:
        process = await asyncio.create_subprocess_exec(
            str(python), "-I", "-c", _QUESTION, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env={}
        )
    except OSError as error:
        raise SandboxUnavailable(f"The interpreter {python} cannot be started: {error.strerror}.") from error
    try:
        answer, _ = await asyncio.wait_for(process.communicate(), _SECONDS)
        executable, prefix, base, has_kernel = json.loads(answer)
    except (TimeoutError, ValueError) as error:
        raise SandboxUnavailable(f"{python} does not answer as a Python interpreter.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not has_kernel:
        raise SandboxUnavailable(f"The interpreter {python} has no ipykernel: pip install 'everloom[code]' into it.")
    return Interpreter(executable, _trees(Path(prefix)) | _trees(Path(base)))


def _trees(prefix: Path) -> dict[str, str]:
    real = prefix.resolve()
    places = {seen: real for seen in (prefix, real) if not seen.is_relative_to("/usr")}
    # Shown under both names: links in a virtual environment may say either.
    return {
        str(seen / part): str((there / part).resolve())
        for seen, there in places.items()
        for part in _PARTS
        if (there / part).exists()
    }
