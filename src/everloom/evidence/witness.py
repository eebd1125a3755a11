"""The witness in a file of JSON lines, a checkpoint each, that is only ever appended to."""

import fcntl
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from everloom.kit.errors import NO_JSON
from everloom.kit.files import sync_folder
from everloom.objects.audit import Checkpoint
from everloom.objects.base import encode

_LINE = 4096
"""Bytes that no checkpoint's line reaches."""

_decode = msgspec.json.Decoder(Checkpoint).decode


class WitnessFile:
    """A ``Witness`` at a path; several processes may write to it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """See ``Witness.append``."""
        fresh = not self._path.exists()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0)
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = set(_read(file)[0])
            news = [each for each in checkpoints if each not in known]
            if not news:
                return
            # A line that a crash has cut off stays as it is, and is none.
            lines = b"".join(encode(each) + b"\n" for each in news)
            file.write(lines if _ends_whole(file) else b"\n" + lines)
            os.fsync(file.fileno())
        if fresh:
            sync_folder(self._path.parent)

    def last(self) -> Checkpoint | None:
        """See ``Witness.last``."""
        try:
            with self._path.open("rb", buffering=0) as file:
                return _last(file)
        except FileNotFoundError:
            return None

    def all(self) -> list[Checkpoint]:
        """See ``Witness.all``."""
        try:
            return read_witness(self._path)[0]
        except FileNotFoundError:
            return []

    def illegible(self) -> dict[int, bytes]:
        """See ``Witness.illegible``."""
        try:
            return read_witness(self._path)[1]
        except FileNotFoundError:
            return {}

    def begin(self) -> None:
        """See ``Witness.begin``."""
        if self._path.exists():
            until = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            self._path.rename(self._path.with_name(f"{self._path.name}.until-{until}"))
            sync_folder(self._path.parent)


def read_witness(path: Path) -> tuple[list[Checkpoint], dict[int, bytes]]:
    """All that a file remembers, as it stands there, and lines that are no checkpoints, by their numbers.

    Errors: ``OSError``.
    """
    with path.open("rb") as file:
        return _read(file)


def _read(file: BinaryIO) -> tuple[list[Checkpoint], dict[int, bytes]]:
    found: list[Checkpoint] = []
    illegible: dict[int, bytes] = {}
    number = 0
    while line := file.readline(_LINE):
        number += 1
        try:
            found.append(_decode(line))
        except NO_JSON:
            illegible[number] = line
    return found, illegible


def _last(file: BinaryIO) -> Checkpoint | None:
    """The last line that is a checkpoint."""
    end = file.seek(0, os.SEEK_END)
    rest = b""
    while end > 0:
        start = max(0, end - _LINE)
        file.seek(start)
        rest = file.read(end - start) + rest
        lines = rest.split(b"\n")
        for line in reversed(lines[1:] if start else lines):
            try:
                return _decode(line)
            except NO_JSON:
                continue
        rest, end = lines[0], start
    return None


def _ends_whole(file: BinaryIO) -> bool:
    if not (end := file.seek(0, os.SEEK_END)):
        return True
    file.seek(end - 1)
    return file.read(1) == b"\n"
