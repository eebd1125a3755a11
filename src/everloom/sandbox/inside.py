"""The files of a sandbox, handled from outside while its code may be changing them.

Every folder on the way is opened by itself, refusing symbolic links, from the held root of the sandbox; a file must be
a regular one once it is open. Nothing blocks on a pipe or a lease that somebody put there.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import AsyncIterator, Iterator, Sequence

from everloom.sandbox.base import SandboxFull, SandboxLimits, Seen
from everloom.sandbox.bubblewrap import DATA

_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_PATH | os.O_DIRECTORY | _SAFE
_BLOCK = 1 << 20
_DEEPEST = 16
"""Folders below /mnt/data that are looked into."""
_OWN = DATA.split("/")[1:]


def open_below(root: int, parts: Sequence[str], flags: int) -> int:
    """Open what stands at a path below a folder. The caller closes it. Errors: ``OSError``."""
    if not {"", ".", ".."}.isdisjoint(parts):
        raise FileNotFoundError(errno.ENOENT, "no path below a folder")
    here = os.dup(root)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(parts[-1], flags | _SAFE, dir_fd=here)
    finally:
        os.close(here)


class Folder:
    """/mnt/data of one sandbox."""

    def __init__(self, root: int, user: int, limits: SandboxLimits) -> None:
        self._data = open_below(root, _OWN, os.O_RDONLY | os.O_DIRECTORY)
        self._user = user
        self._limits = limits

    def close(self) -> None:
        if self._data >= 0:
            os.close(self._data)
            self._data = -1

    async def names(self) -> set[str]:
        """Of everything directly in it."""
        return set(os.listdir(self._data))

    async def write(self, name: str, blocks: AsyncIterator[bytes]) -> None:
        """Put a file there, whole or not at all. Errors: ``SandboxFull``."""
        interim = f".{secrets.token_hex(8)}"
        try:
            file = os.open(interim, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _SAFE, 0o644, dir_fd=self._data)
        except OSError as error:
            raise self._refusal(name, error) from error
        try:
            try:
                if os.geteuid() == 0:
                    os.fchown(file, self._user, self._user)
                async for block in blocks:
                    await asyncio.to_thread(self._write, name, file, block)
            finally:
                os.close(file)
            self._put_in_place(interim, name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(interim, dir_fd=self._data)
            raise

    def _write(self, name: str, file: int, block: bytes) -> None:
        view = memoryview(block)
        try:
            while view:
                view = view[os.write(file, view) :]
        except OSError as error:
            raise self._refusal(name, error) from error

    def _put_in_place(self, interim: str, name: str) -> None:
        try:
            os.rename(interim, name, src_dir_fd=self._data, dst_dir_fd=self._data)
        except OSError as error:
            raise self._refusal(name, error) from error

    def _refusal(self, name: str, error: OSError) -> SandboxFull:
        """The code may have made of its folder what it likes."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return SandboxFull(f"There is no room for {name} in the sandbox.")
        return SandboxFull(f"{name} cannot be put into the sandbox: {error.strerror}.")

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """A file's content, to the size that one file may have. Errors: ``FileNotFoundError``."""
        try:
            file = open_below(self._data, path.removeprefix(f"{DATA}/").split("/"), os.O_RDONLY)
        except OSError as error:
            raise FileNotFoundError(path) from error
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise FileNotFoundError(path)
            left = self._limits.file
            while left > 0 and (block := await asyncio.to_thread(os.read, file, min(_BLOCK, left))):
                left -= len(block)
                yield block
        finally:
            os.close(file)

    async def look(self) -> Seen:
        """All regular files that are not hidden and not too large to be taken out."""
        return await asyncio.to_thread(lambda: dict(self._walk(self._data, "", _DEEPEST, _Patience(self._limits))))

    def _walk(
        self, folder: int, above: str, depth: int, patience: "_Patience"
    ) -> Iterator[tuple[str, tuple[int, int, int]]]:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith((".", "__pycache__"))]
        for name in names:
            if not patience.lasts():
                return
            with contextlib.suppress(OSError, UnicodeEncodeError):
                name.encode()  # A name that is no text cannot be told to anybody.
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_size <= self._limits.file:
                    yield above + name, (found.st_ino, found.st_size, found.st_ctime_ns)
                elif stat.S_ISDIR(found.st_mode) and depth > 0:
                    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _SAFE, dir_fd=folder)
                    try:
                        yield from self._walk(below, f"{above}{name}/", depth - 1, patience)
                    finally:
                        os.close(below)


class _Patience:
    """How many entries a walk sees: no more than there can be, though somebody may carry them before it from folder to
    folder."""

    def __init__(self, limits: SandboxLimits) -> None:
        self._left = limits.entries

    def lasts(self) -> bool:
        self._left -= 1
        return self._left >= 0
