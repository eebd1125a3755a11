"""``function``: the model asks, the caller's program runs it and submits the output."""

import msgspec
from msgspec import UNSET

from everloom.objects.base import JsonObject
from everloom.objects.steps import CallDelta, FunctionCallDelta, FunctionOutcome, FunctionPiece, FunctionStepCall
from everloom.objects.tools import FunctionTool


class FunctionDraft:
    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self._name = name
        self._pieces: list[str] = []

    def begin(self, index: int) -> CallDelta:
        piece = FunctionPiece(name=self._name, arguments="", output=None)
        return FunctionCallDelta(index=index, id=self.id, function=piece)

    def grow(self, index: int, piece: str) -> CallDelta | None:
        self._pieces.append(piece)
        return FunctionCallDelta(index=index, id=UNSET, function=FunctionPiece(arguments=piece))

    def whole(self) -> FunctionStepCall:
        return FunctionStepCall(id=self.id, function=FunctionOutcome(name=self._name, arguments=self.arguments))

    @property
    def arguments(self) -> str:
        return "".join(self._pieces)


class Functions:
    type = "function"

    def offer(self, tool: FunctionTool) -> JsonObject:
        """The function as it was given: name, description, parameters, strict."""
        offered: JsonObject = msgspec.to_builtins(tool)
        return offered

    def draft(self, id: str, name: str) -> FunctionDraft:
        return FunctionDraft(id, name)
