"""``function``: the model asks, the caller's program runs it and submits the output."""

import msgspec

from everloom.objects.base import JsonObject
from everloom.objects.tools import FunctionTool


class Functions:
    type = "function"
    by_caller = True

    def offer(self, tool: FunctionTool) -> JsonObject:
        """The function as it was given: name, description, parameters, strict."""
        offered: JsonObject = msgspec.to_builtins(tool)
        return offered
