"""``code_interpreter``: the model writes Python, a sandbox of this server runs it."""

from msgspec import UNSET

from everloom.objects.base import JsonObject
from everloom.objects.steps import (
    CallDelta,
    CodeInterpreterDelta,
    CodeInterpreterOutcome,
    CodeInterpreterStepCall,
    CodePiece,
)
from everloom.objects.tools import CodeInterpreterTool
from everloom.tools.arguments import TextField

DESCRIPTION = (
    "Runs Python code in a Jupyter notebook that keeps its state between calls, and shows what it prints and plots. "
    "Files the user attached are in /mnt/data; save files for the user there, and name them in the answer as "
    "sandbox:/mnt/data/NAME. There is no network."
)


class CodeDraft:
    def __init__(self, id: str) -> None:
        self.id = id
        self._code = TextField("code")

    def begin(self, index: int) -> CallDelta:
        return CodeInterpreterDelta(index=index, id=self.id, code_interpreter=CodePiece(input="", outputs=[]))

    def grow(self, index: int, piece: str) -> CallDelta | None:
        if not (code := self._code.feed(piece)):
            return None
        return CodeInterpreterDelta(index=index, id=UNSET, code_interpreter=CodePiece(input=code))

    def whole(self) -> CodeInterpreterStepCall:
        return CodeInterpreterStepCall(id=self.id, code_interpreter=CodeInterpreterOutcome(input=self._code.value()))

    @property
    def arguments(self) -> str:
        return self._code.written


class CodeInterpreter:
    type = "code_interpreter"
    name: str | None = "code_interpreter"

    def offer(self, tool: CodeInterpreterTool) -> JsonObject:
        """A function of one text, the code."""
        parameters = {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "The Python code to run"}},
            "required": ["code"],
        }
        function = {"name": self.name, "description": DESCRIPTION, "parameters": parameters}
        return {"type": "function", "function": function}

    def draft(self, id: str, name: str) -> CodeDraft:
        return CodeDraft(id)
