"""Running other people's code: a Jupyter kernel a conversation, in bubblewrap or behind a gateway. Knows no runs."""

from everloom.tools.sandbox.outputs import (
    Image,
    Limits,
    Logs,
    Made,
    Output,
    SandboxDied,
    SandboxFull,
    SandboxUnavailable,
)
from everloom.tools.sandbox.pool import Sandboxes
from everloom.tools.sandbox.session import Session

__all__ = [
    "Image",
    "Limits",
    "Logs",
    "Made",
    "Output",
    "SandboxDied",
    "SandboxFull",
    "SandboxUnavailable",
    "Sandboxes",
    "Session",
]
