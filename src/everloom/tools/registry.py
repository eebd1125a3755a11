"""One line per tool."""

from collections.abc import Iterable
from typing import Any

from everloom.objects.base import JsonObject
from everloom.tools.base import Tool
from everloom.tools.function import Functions

_TOOLS: dict[str, Tool] = {tool.type: tool for tool in (Functions(),)}


class UnavailableTool(Exception):
    """A tool this server does not have; ``type`` says which."""

    def __init__(self, type: str) -> None:
        super().__init__(
            f"The tool '{type}' is not available on this server yet. Remove it from the assistant or from the run, or "
            "use a function instead."
        )
        self.type = type


def offers(tools: Iterable[Any]) -> list[JsonObject]:
    """The tools of a run as its model is to see them. Errors: ``UnavailableTool``."""
    offered = []
    for tool in tools:
        kind = str(tool.__struct_config__.tag)
        if kind not in _TOOLS:
            raise UnavailableTool(kind)
        offered.append(_TOOLS[kind].offer(tool))
    return offered
