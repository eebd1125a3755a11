"""A streamed chat completion put together to the whole one that it would have been."""

from typing import Any

from everloom.objects.base import JsonObject

_ONCE = frozenset({"role", "id", "type", "name", "object", "finish_reason"})
"""Texts that are told whole; every other text comes in pieces."""


class _Text(list[str]):
    """The pieces of a text."""


class _Items(dict[int, JsonObject]):
    """The members of a list by their ``index``: function calls, which grow side by side."""


class CompletionAccumulator:
    """The chunks of one stream, taken in as they pass. ``failed``: one of them was an error."""

    def __init__(self) -> None:
        self.failed = False
        self._head: JsonObject = {}
        self._choices: dict[int, JsonObject] = {}

    def add(self, chunk: JsonObject) -> None:
        """Take in a chunk (CreateChatCompletionStreamResponse)."""
        self.failed = self.failed or "error" in chunk
        for name, value in chunk.items():
            if name != "choices" and value is not None:
                self._head[name] = value
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            index = choice.get("index", 0)
            whole = self._choices.setdefault(index, {"index": index, "message": {}, "logprobs": None})
            _grow(whole["message"], choice.get("delta") or {})
            if choice.get("logprobs"):
                whole["logprobs"] = whole["logprobs"] or {"content": None, "refusal": None}
                _grow(whole["logprobs"], choice["logprobs"])
            if choice.get("finish_reason"):
                whole["finish_reason"] = choice["finish_reason"]

    def whole(self) -> JsonObject:
        """The completion (CreateChatCompletionResponse)."""
        choices = [_whole_choice(self._choices[index]) for index in sorted(self._choices)]
        return {**self._head, "object": "chat.completion", "choices": choices}


def _whole_choice(grown: JsonObject) -> JsonObject:
    message = {"role": "assistant", "content": None, "refusal": None, **_plain(grown["message"])}
    return {
        "index": grown["index"],
        "message": message,
        "logprobs": _plain(grown["logprobs"]),
        "finish_reason": grown.get("finish_reason", "stop"),
    }


def _grow(whole: JsonObject, delta: JsonObject) -> None:
    for name, value in delta.items():
        known = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, dict):
            if not isinstance(known, dict):
                known = whole[name] = {}
            _grow(known, value)
        elif isinstance(value, list):
            whole[name] = _longer(known, value)
        elif isinstance(value, str) and name not in _ONCE:
            if not isinstance(known, _Text):
                known = whole[name] = _Text()
            known.append(value)
        elif known is None or value:  # a name that is told again may come empty
            whole[name] = value


def _longer(known: Any, items: list[Any]) -> list[Any] | _Items:
    if items and all(isinstance(item, dict) and "index" in item for item in items):
        grown = known if isinstance(known, _Items) else _Items()
        for item in items:
            _grow(grown.setdefault(item["index"], {}), {name: item[name] for name in item if name != "index"})
        return grown
    if isinstance(known, list):
        known.extend(items)
        return known
    return known if isinstance(known, _Items) and not items else list(items)


def _plain(grown: Any) -> Any:
    if isinstance(grown, _Text):
        return "".join(grown)
    if isinstance(grown, _Items):
        return [_plain(grown[index]) for index in sorted(grown)]
    if isinstance(grown, dict):
        return {name: _plain(value) for name, value in grown.items()}
    return grown
