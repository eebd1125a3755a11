"""``models.toml`` in the data folder: the models that ``everloom models add`` has registered."""

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from everloom.cli import CommandError
from everloom.config import ADDED_FILE
from everloom.models.files.weights import alone

_HEAD = "# Written by 'everloom models add' and 'remove'. Where everloom.toml names the same id, it wins.\n"


def keep(data: Path, id: str, put: Callable[[], Path]) -> Path:
    """Register ``id`` for what ``put`` puts in its place; two who register at once both stay.

    Errors: ``CommandError`` when the id is taken by now; then ``put`` is not called.
    """
    data.mkdir(parents=True, exist_ok=True)
    with alone(data / f".{ADDED_FILE}.lock"):
        entries = _read(data)
        if any(entry["id"] == id for entry in entries):
            raise CommandError(f"there is a model {id} already")
        path = put()
        entries.append({"id": id, "backend": "local", "path": _shown(data, path)})
        _write(data, entries)
    return path


def drop(data: Path, id: str) -> Path | None:
    """Take ``id`` out; where its files are, or None where it is not registered."""
    if not (data / ADDED_FILE).is_file():
        return None
    with alone(data / f".{ADDED_FILE}.lock"):
        entries = _read(data)
        found = next((entry for entry in entries if entry["id"] == id), None)
        if found is None:
            return None
        _write(data, [entry for entry in entries if entry is not found])
    return data / str(found["path"])


def _shown(data: Path, path: Path) -> str:
    """Relative where it lies in the data folder, which may be moved as a whole."""
    text = str(path.relative_to(data) if path.is_relative_to(data) else path)
    if not text.isprintable():
        raise CommandError(f"{text!r} has characters that cannot be kept; rename it")
    return text


def _read(data: Path) -> list[dict[str, Any]]:
    file = data / ADDED_FILE
    return list(tomllib.loads(file.read_text(encoding="utf-8")).get("models", [])) if file.is_file() else []


def _write(data: Path, entries: list[dict[str, Any]]) -> None:
    """All of it or nothing, also when the machine stops in the middle. What a person added to an entry stays."""
    tables = [
        "".join(["\n[[models]]\n", *(f"{key} = {_value(value)}\n" for key, value in entry.items())])
        for entry in entries
    ]
    scratch = data / f".{ADDED_FILE}.new"
    with scratch.open("w", encoding="utf-8") as file:
        file.write(_HEAD + "".join(tables))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(data / ADDED_FILE)


def _value(value: Any) -> str:
    """A text, number, boolean or list of them in TOML, which for these is JSON."""
    return json.dumps(value, ensure_ascii=False)
