"""Which call a piece of a call belongs to, where servers do not number them as the reference does."""

from collections.abc import Sequence

import msgspec

from everloom.kit.errors import NO_JSON, ModelFailure
from everloom.objects.chat import FunctionChunk, ToolCallChunk


class _Call:
    def __init__(self, number: int) -> None:
        self.number = number
        self.id: str | None = None
        self.name = ""
        self.arguments = ""
        self.told = False


class CallNumbering:
    """Gives the pieces of one answer's calls the numbers that the reference would have: 0, 1, 2 in their order.

    Servers leave the number out, say 0 for every call, or tell a call's id and name again with each piece. A piece
    begins a call where its number is new, or where its id or name cannot be that of the last call under the number.
    A call is told once its name is known, and has arguments, if only ``{}``, when it ends.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._latest: dict[int, _Call] = {}

    def place(self, pieces: Sequence[ToolCallChunk]) -> list[ToolCallChunk]:
        """The pieces of one chunk under their numbers."""
        here: set[int] = set()
        placed = (self._placed(piece, here) for piece in pieces)
        return [piece for piece in placed if piece is not None]

    def end(self, model: str) -> list[ToolCallChunk]:
        """What calls lack at the answer's end. Errors: ``ModelFailure`` for one that was never named."""
        pieces = []
        for call in self._calls:
            if not call.told:
                raise ModelFailure(f"The model {model} called a function without naming it.", code="upstream_broken")
            if not call.arguments.strip():
                call.arguments = "{}"
                pieces.append(ToolCallChunk(index=call.number, function=FunctionChunk(arguments="{}")))
        return pieces

    def _placed(self, piece: ToolCallChunk, here: set[int]) -> ToolCallChunk | None:
        function = piece.function or FunctionChunk()
        call = self._latest.get(piece.index)
        if call is None or self._is_another(call, piece.id, function.name, call.number in here):
            call = _Call(len(self._calls))
            self._calls.append(call)
            self._latest[piece.index] = call
        here.add(call.number)
        call.id = call.id or piece.id
        arguments = function.arguments or ""
        if not call.told:
            call.name = call.name or function.name or ""
            call.arguments += arguments
            if not call.name:
                return None  # Which tool is called decides how the call is told.
            call.told = True
            told = FunctionChunk(name=call.name, arguments=call.arguments or None)
            return ToolCallChunk(index=call.number, id=call.id, function=told)
        call.arguments += arguments
        return ToolCallChunk(index=call.number, function=FunctionChunk(arguments=arguments)) if arguments else None

    def _is_another(self, call: _Call, id: str | None, name: str | None, in_this_chunk: bool) -> bool:
        if id and call.id:
            return id != call.id
        if name and call.name:
            return name != call.name or in_this_chunk or _is_whole(call.arguments)
        return in_this_chunk


def _is_whole(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments)
    except NO_JSON:
        return False
    return True
