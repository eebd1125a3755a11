"""What passes between a training child and the server: JSON, a frame a message. The child's end.

From the server: ``open`` (the model's file), ``go`` (what to do, when the lines are prepared), ``taken`` (a state was
copied away), ``pause``. From the child: ``opened``, then events as ``messages.py`` has them, at last ``finished``,
``paused``, ``failed`` (its own error) or ``away`` (the disk's).
"""

import json
import math
import queue
import time
from typing import Any, Protocol

LONGEST_TEXT = 2000
_ALIVE_S = 10.0


class Pipe(Protocol):
    """As ``subprocesses.framing.ParentPipe``."""

    def say(self, data: bytes) -> None: ...


class Pausing(Exception):
    """The server wants the training paused."""


class TrainingRefused(Exception):
    """The training's own error, in words for its owner."""

    def __init__(self, message: str, code: str = "training_failed", param: str | None = None) -> None:
        super().__init__(message)
        self.fields = {"message": message[:LONGEST_TEXT], "code": code, "param": param}


class ParentLink:
    """The server, as training sees it."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._said = time.monotonic()
        self.pausing = False
        self.untaken = 0
        """States that were told and not yet taken."""

    def hear(self, frame: bytes) -> None:
        """A frame from the server, in a thread of its own."""
        order = json.loads(frame)
        if order["type"] == "pause":
            self.pausing = True
        elif order["type"] == "taken":
            self.untaken -= 1
        else:
            self._orders.put(order)

    def order(self) -> dict[str, Any]:
        """Wait for the next thing to do."""
        return self._orders.get()

    def say(self, type: str, **fields: Any) -> None:
        """Numbers that are none go as null: JSON has no word for them."""
        self._said = time.monotonic()
        self._pipe.say(json.dumps({"type": type, **{name: _plain(value) for name, value in fields.items()}}).encode())

    def breathe(self) -> None:
        """Between two parts of a step: tell now and then that it goes on. Errors: ``Pausing``."""
        if time.monotonic() - self._said > _ALIVE_S:
            self.say("alive")
        if self.pausing:
            raise Pausing


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value[:LONGEST_TEXT] if isinstance(value, str) else value
