"""The tools' port: how a tool is offered to a model, and what becomes of the model's calls to it."""

from typing import Any, Protocol

from everloom.objects.base import JsonObject


class Tool(Protocol):
    """One kind of tool (``type`` as the reference names it)."""

    type: str
    by_caller: bool
    """Whether the program that made the run answers the calls (``requires_action``), not this server."""

    def offer(self, tool: Any) -> JsonObject:
        """The tool as a chat completion request names it."""
        ...
