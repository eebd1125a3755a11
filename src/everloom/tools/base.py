"""The tools' port: how a tool is offered to a model, and how a call to it looks while the model writes it.

What a call does is ``work/``'s: a tool knows shapes alone.
"""

from typing import Any, Protocol

from everloom.objects.base import JsonObject
from everloom.objects.steps import CallDelta, StepCall


class Draft(Protocol):
    """One call to a tool, growing as the model writes its arguments."""

    id: str

    def begin(self, index: int) -> CallDelta:
        """The delta that opens the call; ``index`` is its place among the calls of its step."""
        ...

    def grow(self, index: int, piece: str) -> CallDelta | None:
        """The delta for more of the arguments; None when there is nothing to show yet."""
        ...

    def whole(self) -> StepCall:
        """The call as the step keeps it, once the arguments have ended; without any output."""
        ...

    @property
    def arguments(self) -> str:
        """The arguments as the model wrote them."""
        ...


class Tool(Protocol):
    """One kind of tool (``type`` as the reference names it)."""

    type: str
    name: str | None
    """The function's name under which a model calls it; None where each tool has a name of its own."""

    def offer(self, tool: Any) -> JsonObject:
        """The tool as a chat completion request names it."""
        ...

    def draft(self, id: str, name: str) -> Draft:
        """A call that a model has begun."""
        ...
