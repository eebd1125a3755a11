"""Tools for models that were not trained to call them: the question holds what was brought, words become calls."""

from collections.abc import Sequence

from everloom.objects.base import JsonObject
from everloom.objects.runs import Run, ToolWork
from everloom.tools.base import AnswerReader
from everloom.tools.registry import BUILT_IN, built_in


def guide(run: Run, body: JsonObject, messages: list[JsonObject], works: Sequence[ToolWork]) -> AnswerReader | None:
    """Give a model that does not choose tools what they have brought; how its answer is to be read, if not as it comes.

    What two tools have brought does not go into one question: the last line of the registry is shown.
    """
    for tool in reversed(BUILT_IN):
        if brought := [work for work in works if work.type == tool.type]:
            return tool.show(body, messages, brought)
    if run.tool_choice != "none":
        for tool in built_in(run.tools):
            if (reader := tool.invite(messages, forced=run.tool_choice != "auto")) is not None:
                return reader
    return None
