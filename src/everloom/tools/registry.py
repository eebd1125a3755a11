"""The tools that this server answers, one line each, and what is asked of all of them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from everloom.objects.base import JsonObject
from everloom.objects.tools import FunctionTool, NamedToolChoice, ToolChoice
from everloom.tools.base import BuiltInTool, Draft
from everloom.tools.code_interpreter import CodeInterpreter
from everloom.tools.file_search import FileSearch
from everloom.tools.function import Functions

BUILT_IN: tuple[BuiltInTool, ...] = (
    CodeInterpreter(),
    FileSearch(),
)
"""In the order in which a run asks them whether they are ready."""

_FUNCTIONS = Functions()
_BY_TYPE = {tool.type: tool for tool in BUILT_IN}


def tag(tool: Any) -> str:
    """The type of a tool, or of a call to it, as the reference names it."""
    return str(tool.__struct_config__.tag)


def tool_of(type: str) -> BuiltInTool:
    """The tool of this server that answers calls of this type."""
    return _BY_TYPE[type]


def built_in(tools: Iterable[Any]) -> list[BuiltInTool]:
    """Those of a run's tools that this server answers."""
    held = {tag(tool) for tool in tools}
    return [tool for tool in BUILT_IN if tool.type in held]


def offers(tools: Iterable[Any], *, chooses_tools: bool) -> list[JsonObject]:
    """The tools of a run as its model is to see them; who does not choose tools sees the caller's functions alone."""
    return [
        _BY_TYPE.get(type, _FUNCTIONS).offer(tool)
        for tool in tools
        if (type := tag(tool)) not in _BY_TYPE or chooses_tools
    ]


def choice(choice: ToolChoice) -> Any:
    """A tool choice as a model knows it, to whom this server's tools are functions too."""
    if isinstance(choice, NamedToolChoice) and choice.type in _BY_TYPE:
        return {"type": "function", "function": {"name": _BY_TYPE[choice.type].name}}
    return msgspec.to_builtins(choice)


def draft(tools: Iterable[Any], id: str, name: str) -> Draft:
    """A call that a model has begun to a tool of this name; a function of the caller's wins over a tool of ours."""
    functions = {tool.function.name for tool in tools if isinstance(tool, FunctionTool)}
    for tool in built_in(tools):
        if tool.name == name and name not in functions:
            return tool.draft(id, name)
    return _FUNCTIONS.draft(id, name)
