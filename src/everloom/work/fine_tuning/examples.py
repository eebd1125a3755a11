"""The lines of a training file before anything is trained on them: faults make a failed job, each told with its line
(FinetuneChatRequestInput, FinetuneCompletionRequestInput, and the preference form of the newest reference).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from everloom.kit.errors import NO_JSON
from everloom.objects.base import JsonObject
from everloom.work.files.lines import RawLine

FEWEST_EXAMPLES = 10
"""That a training file has to have, as the platform asks."""

MOST_EXAMPLES = 1_000_000
MOST_FAULTS = 100
"""That are kept of one file; behind them it is not read on."""

LONGEST_LINE = 16 * 1024 * 1024

ExampleFormat = Literal["chat", "completion", "preference"]

_KEYS: dict[ExampleFormat, frozenset[str]] = {
    "chat": frozenset({"messages", "tools", "parallel_tool_calls", "functions"}),
    "completion": frozenset({"prompt", "completion"}),
    "preference": frozenset({"input", "preferred_output", "non_preferred_output"}),
}
_INPUT_KEYS = frozenset({"messages", "tools", "parallel_tool_calls"})
_MESSAGE_KEYS = frozenset(
    {"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal"}
)
_LEADING = ("system", "developer")
_ROLES = (*_LEADING, "user", "assistant", "tool", "function")
_CODES = "A line is one of: {messages: […]}, {prompt, completion}, {input, preferred_output, non_preferred_output}."

_any = msgspec.json.Decoder()


class ExampleFault(msgspec.Struct, frozen=True):
    """What is wrong with a line (counted from 1), or, without one, with the file."""

    text: str
    line: int | None = None

    def __str__(self) -> str:
        return self.text if self.line is None else f"Line {self.line}: {self.text}"


class ExampleChecker:
    """Takes the lines of a file in their order. ``faults`` are those found so far, ``count`` the examples that are
    right, ``format`` what the first line that is any form of example has the others be.

    ``wanted``: the formats that the job can use.
    """

    def __init__(self, wanted: Sequence[ExampleFormat]) -> None:
        self.faults: list[ExampleFault] = []
        self.count = 0
        self.format: ExampleFormat | None = None
        self._wanted = wanted

    @property
    def is_full(self) -> bool:
        """Whether enough faults have been found, or too many examples."""
        return len(self.faults) >= MOST_FAULTS or self.count > MOST_EXAMPLES

    def take(self, lines: Iterable[RawLine]) -> None:
        """Look at lines. It may take long, so it is done beside the loop."""
        for line in lines:
            if self.is_full:
                return
            if (text := self._check(line)) is not None:
                self.faults.append(ExampleFault(text, line.number))
            else:
                self.count += 1

    def _check(self, line: RawLine) -> str | None:
        if line.data is None:
            return f"This line is longer than the {LONGEST_LINE} bytes that an example may have."
        try:
            line.data.decode()
            example = _any.decode(line.data)
        except NO_JSON:
            return "This line is not valid JSON."
        if not isinstance(example, dict):
            return "This line is not a JSON object."
        found = _format_of(example)
        if found is None:
            return f"This is no example. {_CODES}"
        if found not in self._wanted:
            return f"This is a {found} example; this job takes {' or '.join(self._wanted)} examples."
        if self.format is None:
            self.format = found
        if found != self.format:
            return f"This is a {found} example, and those before it are {self.format} examples."
        return _unknown(example, _KEYS[found], "") or _CHECKS[found](example)


def _format_of(example: JsonObject) -> ExampleFormat | None:
    for format, key in (("chat", "messages"), ("preference", "input"), ("completion", "completion")):
        if key in example:
            return format  # type: ignore[return-value]
    return "completion" if "prompt" in example else None


def _unknown(value: JsonObject, known: frozenset[str], where: str) -> str | None:
    odd = next((key for key in value if key not in known), None)
    return None if odd is None else f"Unrecognized key '{odd[:64]}'{where}."


# --- the formats ----------------------------------------------------------------------------------------------------


def _completion(example: JsonObject) -> str | None:
    for key in ("prompt", "completion"):
        if not isinstance(example.get(key), str):
            return f"'{key}' has to be a string."
    return None if example["completion"] else "'completion' is empty: there is nothing to learn."


def _parallel(value: JsonObject) -> str | None:
    is_right = isinstance(value.get("parallel_tool_calls"), bool | None)
    return None if is_right else "'parallel_tool_calls' has to be true or false."


def _chat(example: JsonObject) -> str | None:
    fault = _parallel(example) or _tools(example) or _messages(example["messages"], "messages")
    if fault is not None:
        return fault
    messages = example["messages"]
    if messages[-1]["role"] != "assistant":
        return "The last message has to be from the assistant."
    if not any(each["role"] == "assistant" and each.get("weight") != 0 for each in messages):
        return "No message of the assistant has a weight other than 0: there is nothing to learn."
    return None


def _preference(example: JsonObject) -> str | None:
    given = example["input"]
    if not isinstance(given, dict):
        return "'input' has to be an object with messages."
    fault = (
        _unknown(given, _INPUT_KEYS, " in input")
        or _parallel(given)
        or _tools(given)
        or _messages(given.get("messages"), "messages")
    )
    if fault is not None:
        return f"In input: {fault}"
    if given["messages"][-1]["role"] == "assistant":
        return "In input: the last message is from the assistant; it has to be one that is to be answered."
    for key in ("preferred_output", "non_preferred_output"):
        output = example.get(key)
        if not isinstance(output, list) or len(output) != 1:
            return f"'{key}' has to be a list of one message."
        if (fault := _message(output[0], 0)) is not None:
            return f"In {key}: {fault}"
        if output[0]["role"] != "assistant":
            return f"In {key}: the message has to be from the assistant."
        if output[0].get("weight", 1) == 0:
            return f"In {key}: a preference has no weights."
    if example["preferred_output"] == example["non_preferred_output"]:
        return "Both outputs are the same: there is nothing to prefer."
    return None


_CHECKS: dict[ExampleFormat, Callable[[JsonObject], str | None]] = {
    "chat": _chat,
    "completion": _completion,
    "preference": _preference,
}


# --- messages ---------------------------------------------------------------------------------------------------------


def _messages(messages: Any, name: str) -> str | None:
    if not isinstance(messages, list) or not messages:
        return f"'{name}' has to be a list of at least one message."
    called: set[str] = set()
    talked = False
    for number, message in enumerate(messages):
        if (fault := _message(message, number)) is not None:
            return fault
        role = message["role"]
        if role in _LEADING and talked:
            return f"Message {number}: a {role} message stands behind others; it has to come first."
        if role == "tool" and message.get("tool_call_id") not in called:
            return f"Message {number}: a tool message has to answer a call (tool_call_id) of a message before it."
        talked = talked or role not in _LEADING
        called.update(call["id"] for call in message.get("tool_calls") or () if isinstance(call.get("id"), str))
    return None


def _message(message: Any, number: int) -> str | None:
    where = f"Message {number}: "
    if not isinstance(message, dict):
        return f"{where}it is no object."
    role = message.get("role")
    if role not in _ROLES:
        return f"{where}'role' has to be one of {', '.join(_ROLES)}."
    if (fault := _unknown(message, _MESSAGE_KEYS, "")) is not None:
        return where + fault
    fault = _weight(message, role) or _calls(message, role) or _content(message, role)
    return None if fault is None else where + fault


def _weight(message: JsonObject, role: str) -> str | None:
    if "weight" not in message:
        return None
    if role != "assistant":
        return f"a {role} message has no weight; only the assistant's have."
    weight = message["weight"]
    if weight is None or (weight in (0, 1) and not isinstance(weight, bool)):
        return None
    return "'weight' has to be 0 or 1."


def _calls(message: JsonObject, role: str) -> str | None:
    calls, old = message.get("tool_calls"), message.get("function_call")
    if calls is None and old is None:
        return None
    if role != "assistant":
        return f"a {role} message calls no tools; only the assistant's do."
    if calls is not None and (not isinstance(calls, list) or not calls):
        return "'tool_calls' has to be a list of at least one call."
    for call in calls or ():
        if not isinstance(call, dict) or call.get("type", "function") != "function":
            return "a call in 'tool_calls' has to be of type function."
        if (fault := _function(call.get("function"))) is not None:
            return fault
    return None if old is None else _function(old)


def _function(called: Any) -> str | None:
    if not isinstance(called, dict) or not isinstance(called.get("name"), str) or not called["name"]:
        return "a call needs the name of a function."
    arguments = called.get("arguments")
    if not isinstance(arguments, str):
        return "a call needs arguments: JSON, as a string."
    try:
        ok = isinstance(_any.decode(arguments), dict)
    except NO_JSON:
        ok = False
    return None if ok else f"the arguments of the call of '{called['name'][:64]}' are no JSON object."


def _content(message: JsonObject, role: str) -> str | None:
    content = message.get("content")
    if isinstance(content, list):
        if not content:
            return "'content' is an empty list."
        for part in content:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                return "a part of 'content' is no text; images and sound cannot be trained on here."
        content = "".join(part["text"] for part in content)
    if content is None or content == "":
        if role == "assistant":
            says = message.get("tool_calls") or message.get("function_call") or message.get("refusal")
            return None if says else "an assistant message has to have content, or call a tool."
        return None if content == "" else f"a {role} message has to have content."
    return None if isinstance(content, str) else "'content' has to be a string, or a list of text parts."


def _tools(example: JsonObject) -> str | None:
    for key, inner in (("tools", "function"), ("functions", "")):
        tools = example.get(key)
        if tools is None:
            continue
        if not isinstance(tools, list) or len(tools) > 128:
            return f"'{key}' has to be a list of 128 at the most."
        for tool in tools:
            function = tool.get(inner) if inner and isinstance(tool, dict) else tool
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                return f"each of '{key}' needs a function with a name."
            if not isinstance(function.get("parameters", {}), dict):
                return f"the parameters of '{function['name'][:64]}' are no JSON object."
    return None
