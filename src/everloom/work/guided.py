"""Citing, for models that were not trained to: the passages stand in the question, the answer is held to a form.

The model writes ``{"answer": …, "source": …}``, constrained so that ``source`` is one of the marks it was shown. What
the caller sees is the answer, followed by the mark that the model chose.
"""

from everloom.objects.base import JsonObject
from everloom.objects.chat import ChatChunk, ChatDelta
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

    def take(self, chunk: ChatChunk) -> ChatChunk:
        """The chunk as the caller is to see it."""
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
