"""What is known of a job at an upstream, in a file: whoever has it goes on following the same job."""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from everloom.objects.base import encode

_LARGEST_BYTES = 1 << 20


class RemoteState(Struct, omit_defaults=True):
    """What of a job there is to be known to go on following it. The training file is ours alone, so that it names the
    job even where the answer to its making was lost.
    """

    training_file: str = ""
    validation_file: str = ""
    job: str = ""
    event: str = ""
    """The last event that was told."""
    step: int = 0
    checkpoints: list[str] = []
    """Those that were told."""


def read_state(path: Path) -> RemoteState:
    """The state in a file. Errors: ``FileNotFoundError``, and those of JSON that is none, or another's."""
    with path.open("rb") as file:
        return msgspec.json.decode(file.read(_LARGEST_BYTES), type=RemoteState)


def write_state(path: Path, state: RemoteState) -> None:
    """Put a state in a file: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(encode(state))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
