"""One line per tool."""

from collections.abc import Iterable
from typing import Any

from everloom.objects.base import JsonObject
from everloom.objects.tools import FunctionTool
from everloom.tools.base import Draft, Tool
from everloom.tools.code_interpreter import CodeInterpreter
from everloom.tools.file_search import FileSearch
from everloom.tools.function import Functions

_ALL: tuple[Tool, ...] = (Functions(), CodeInterpreter(), FileSearch())
_TOOLS = {tool.type: tool for tool in _ALL}


def tag(tool: Any) -> str:
    """A tool's type, as the reference names it."""
    return str(tool.__struct_config__.tag)


def answered_here(tools: Iterable[Any]) -> bool:
    """Whether this server answers calls to any of these itself."""
    return any(tag(tool) != "function" for tool in tools)


def offers(tools: Iterable[Any]) -> list[JsonObject]:
    """The tools of a run as its model is to see them."""
    return [_TOOLS[tag(tool)].offer(tool) for tool in tools]


def draft(tools: Iterable[Any], id: str, name: str) -> Draft:
    """A call that a model has begun to a tool of this name; a function of the caller's wins over a tool of ours."""
    functions = {tool.function.name for tool in tools if isinstance(tool, FunctionTool)}
    held = {tag(tool) for tool in tools}
    for tool in _TOOLS.values():
        if tool.name == name and tool.type in held and name not in functions:
            return tool.draft(id, name)
    return _TOOLS["function"].draft(id, name)
