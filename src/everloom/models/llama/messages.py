"""The messages of a request as plain turns of text, which is all that a chat template can be relied on to take."""

from collections.abc import Sequence
from typing import Any

from everloom.kit.errors import BadRequest
from everloom.models.llama.tools_prompt import call_text, response_text
from everloom.objects.base import JsonObject

_ROLES = {"developer": "system", "function": "tool"}


def engine_messages(messages: Sequence[JsonObject], *, keep_calls: bool) -> list[JsonObject]:
    """The messages with text alone as content.

    ``keep_calls``: the template knows tools, so calls and results stay what they are; else they are written in
    the format of ``llama/tools_prompt.py``, results of one round together in one turn of the user.
    """
    names = _names_of_calls(messages)
    turns: list[JsonObject] = []
    results = False
    for index, message in enumerate(messages):
        role: str = message["role"]
        role = _ROLES.get(role, role)
        text = _text(message.get("content"), index)
        if role == "tool" and not keep_calls:
            name = message.get("name") or names.get(message.get("tool_call_id", ""), "function")
            text = response_text(name, text)
            if results:
                turns[-1]["content"] += "\n" + text
            else:
                turns.append({"role": "user", "content": text})
            results = True
            continue
        results = False
        turns.append(_turn(role, text, message, keep_calls))
    return turns


def with_system(messages: Sequence[JsonObject], text: str, *, alone: str | None = None) -> list[JsonObject]:
    """The messages with ``text`` at the end of the leading system message; without one, ``alone`` becomes it."""
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": alone or text}, *messages]


def _turn(role: str, text: str, message: JsonObject, keep_calls: bool) -> JsonObject:
    calls = _calls_of(message)
    if not keep_calls:
        lines = [text] if text else []
        lines += [call_text(call["function"]["name"], call["function"]["arguments"]) for call in calls]
        return {"role": role, "content": "\n".join(lines)}
    turn: JsonObject = {"role": role, "content": text}
    if calls:
        turn["tool_calls"] = calls
    if role == "tool":
        turn["tool_call_id"] = message.get("tool_call_id") or message.get("name", "")
    return turn


def _calls_of(message: JsonObject) -> list[JsonObject]:
    if message.get("function_call"):
        old = message["function_call"]
        return [{"id": old["name"], "type": "function", "function": old}]
    return message.get("tool_calls") or []


def _names_of_calls(messages: Sequence[JsonObject]) -> dict[str, str]:
    return {call["id"]: call["function"]["name"] for message in messages for call in _calls_of(message)}


def _text(content: Any, message: int) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    pieces = []
    for index, part in enumerate(content):
        if part["type"] not in ("text", "refusal"):
            raise BadRequest(
                f"Invalid content type. {part['type']} is only supported by certain models; this one reads text.",
                param=f"messages.[{message}].content.[{index}].type",
            )
        pieces.append(part[part["type"]])
    return "\n".join(pieces)
