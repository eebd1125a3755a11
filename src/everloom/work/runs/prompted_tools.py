"""Tools for models that were not trained to call them: what was found stands in the question, code in a fence is run.

The model writes ``{"answer": …, "source": …}``, constrained so that ``source`` is one of the marks it was shown. What
the caller sees is the answer, followed by the mark that the model chose.
"""

import re

from everloom.objects.base import JsonObject, encode
from everloom.objects.chat import ChatChunk, ChatDelta, FunctionChunk, ToolCallChunk
from everloom.objects.runs import ToolWork
from everloom.tools.arguments import TextField


def guide(body: JsonObject, messages: list[JsonObject], works: list[ToolWork]) -> bool:
    """Put what was found before the last question, and hold the answer to the form; whether it is held.

    It is not where the caller asked for a form of its own, where the model may call functions, or where nothing
    was found that could be cited.
    """
    if not messages or messages[-1]["role"] != "user" or not isinstance(messages[-1]["content"], str):
        return False
    passages = "\n\n".join(work.output for work in works)
    question = messages[-1]["content"]
    text = f"Passages from the user's files:\n\n{passages}\n\nAnswer from these passages: {question}"
    messages[-1] = {"role": "user", "content": text}
    marks = list(dict.fromkeys(source.mark for work in works for source in work.sources))
    if not marks or "tools" in body or "response_format" in body:
        return False
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string"}, "source": {"type": "string", "enum": marks}},
        "required": ["answer", "source"],
        "additionalProperties": False,
    }
    form = {"name": "answer", "schema": schema, "strict": True}
    body["response_format"] = {"type": "json_schema", "json_schema": form}
    return True


class Unwrapped:
    """Turns the chunks of a guided answer into those of a plain one."""

    def __init__(self) -> None:
        self._answer = TextField("answer")
        self._written = ""
        self.done = False
        self.pieces = 0

    def take(self, chunk: ChatChunk) -> ChatChunk:
        """The chunk as the caller is to see it."""
        self.pieces += 1
        for choice in chunk.choices:
            if choice.delta.content:
                self._written += choice.delta.content
                choice.delta = ChatDelta(content=self._answer.feed(choice.delta.content) or None)
            if choice.finish_reason is not None:
                choice.delta = ChatDelta(content=(choice.delta.content or "") + _source(self._written) or None)
        return chunk


def _source(written: str) -> str:
    """The mark that stands behind ``source``, once the whole answer is there."""
    _, _, rest = written.rpartition('"source"')
    begin, end = rest.find("【"), rest.find("】")
    return rest[begin : end + 1] if 0 <= begin < end else ""


def ask_for_code(messages: list[JsonObject]) -> None:
    """Say behind the last question that code is wanted, for a caller who forces the code interpreter."""
    if messages and messages[-1]["role"] == "user" and isinstance(messages[-1]["content"], str):
        messages[-1] = {"role": "user", "content": f"{messages[-1]['content']}\n\nAnswer with a ```python block."}


def show_outputs(messages: list[JsonObject], works: list[ToolWork]) -> None:
    """Put what code has printed behind the last question."""
    if messages and messages[-1]["role"] == "user" and isinstance(messages[-1]["content"], str):
        printed = "\n\n".join(work.output for work in works)
        text = f"{messages[-1]['content']}\n\nThe code has been run. Its output:\n{printed}"
        messages[-1] = {"role": "user", "content": text}


_FENCE = "```"
_CODE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)\n?```", re.DOTALL)


class Fenced:
    """Turns the first fenced block of an answer into a call to the code interpreter; then it is ``done``."""

    def __init__(self) -> None:
        self._text = ""
        self._shown = 0
        self.done = False
        """Whether the rest of the answer need not be waited for."""
        self.pieces = 0
        """Chunks so far: a local model sends a token in each."""

    def take(self, chunk: ChatChunk) -> ChatChunk:
        """The chunk as the caller is to see it: words before the fence as they come, then the call."""
        self.pieces += 1
        for choice in chunk.choices:
            self._text += choice.delta.content or ""
            code = _CODE.search(self._text)
            if code is not None and not self.done:
                self.done = True
                arguments = encode({"code": code[1]}).decode()
                call = ToolCallChunk(function=FunctionChunk(name="code_interpreter", arguments=arguments))
                choice.delta = ChatDelta(content=self._until(code.start()), tool_calls=[call])
                choice.finish_reason = "tool_calls"
            else:
                ended = choice.finish_reason is not None
                choice.delta = ChatDelta(content=self._until(len(self._text) if ended else self._safe()))
        return chunk

    def _safe(self) -> int:
        """How far the text can be shown: up to a fence, or what may become one."""
        fence = self._text.find(_FENCE)
        return fence if fence >= 0 else len(self._text.rstrip("`"))

    def _until(self, end: int) -> str | None:
        piece, self._shown = self._text[self._shown : end], max(self._shown, end)
        return piece or None


READERS: dict[str, type[Unwrapped | Fenced]] = {"cited": Unwrapped, "fenced": Fenced}
"""How an answer is read, by the form it was asked for in."""
