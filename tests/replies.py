"""What a scripted server says: replies as tests write them, and their two wire forms (see ``scripted.py``)."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Says:
    """A text. It comes in ``chunks`` pieces (one a word by default), ``burst`` of them in one write."""

    text: str
    chunks: int | None = None
    finish: str = "stop"
    prompt_tokens: int | None = None
    burst: int = 1


@dataclass(frozen=True, init=False)
class Calls:
    """Function calls, each ``(name, arguments)``; arguments are a dict, or a string sent as it stands."""

    calls: tuple[tuple[str, Any], ...]
    text: str | None
    prompt_tokens: int | None

    def __init__(self, *calls: tuple[str, Any], text: str | None = None, prompt_tokens: int | None = None) -> None:
        object.__setattr__(self, "calls", calls)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "prompt_tokens", prompt_tokens)


@dataclass(frozen=True)
class Fails:
    """An error answer. ``body`` is a dict, or a text that is no JSON; ``retry_after`` in seconds."""

    status: int = 500
    body: Json | str | None = None
    retry_after: float | None = None


@dataclass(frozen=True)
class Hangs:
    """Silence for ever: at once (no status line even), or behind so many chunks of ``reply``."""

    after_chunks: int = 0
    reply: Says | Calls = field(default_factory=lambda: Says("one two three four five six seven eight"))


@dataclass(frozen=True)
class Breaks:
    """The connection is cut: behind so many ``seconds`` before anything is answered, or so many chunks of ``reply``."""

    after_chunks: int = 0
    reply: Says | Calls = field(default_factory=lambda: Says("one two three four five six seven eight"))
    seconds: float = 0.0


@dataclass(frozen=True)
class Garbage:
    """Broken JSON in place of the chunk behind ``after_chunks`` good ones; then a proper end."""

    after_chunks: int = 0
    reply: Says | Calls = field(default_factory=lambda: Says("one two three four five six seven eight"))


@dataclass(frozen=True)
class Slow:
    """``reply`` with ``delay`` seconds before every chunk (before the answer, when it is not streamed)."""

    delay: float
    reply: Says | Calls = field(default_factory=lambda: Says("one two three four five six seven eight"))


Reply = Says | Calls | Fails | Hangs | Breaks | Garbage | Slow


def answer_to(body: Json) -> Reply:
    """The default answer: the forced function when there is one, else the last user message said back."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return Calls((choice["function"]["name"], {}))
    if choice == "required":
        return Calls((body["tools"][0]["function"]["name"], {}))
    said = [text_of(message) for message in body["messages"] if message["role"] == "user"]
    return Says(f"You said: {said[-1] if said else 'nothing'}")


def text_of(message: Json) -> str:
    """The words of a message, whatever form its content has."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


class Answer:
    """One answer in its two forms. Ids come from the request's bytes, so they are the same every time."""

    def __init__(self, body: Json, raw: bytes, said: Says | Calls) -> None:
        self.digest = hashlib.sha256(raw).hexdigest()
        self.burst = said.burst if isinstance(said, Says) else 1
        self._said = said
        self._model = body.get("model", "scripted")
        self._n = body.get("n") or 1
        self._wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._text, self._finish = _cut_text(body, said)
        self._calls = said.calls if isinstance(said, Calls) else ()
        self._prompt_tokens = said.prompt_tokens if said.prompt_tokens is not None else count_prompt(body)

    def completion(self) -> Json:
        message: Json = {"role": "assistant", "content": self._text, "refusal": None}
        if self._calls:
            message["tool_calls"] = [self._call(number) for number in range(len(self._calls))]
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": self._finish}
            for index in range(self._n)
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": self.usage(), **_FINGERPRINT}

    def chunks(self) -> Iterator[bytes]:
        """The data of every event but the last one, ``[DONE]``."""
        head = {**self._head("chat.completion.chunk"), **_FINGERPRINT}
        extra: Json = {"usage": None} if self._wants_usage else {}
        for index in range(self._n):
            for delta, finish in self._deltas():
                choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
                yield _compact({**head, "choices": [choice], **extra})
        if self._wants_usage:
            yield _compact({**head, "choices": [], "usage": self.usage()})

    def usage(self) -> Json:
        words = len((self._text or "").split())
        words += sum(len(_arguments(arguments).split()) + 1 for _, arguments in self._calls)
        words *= self._n
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": words,
            "total_tokens": self._prompt_tokens + words,
        }

    def _deltas(self) -> Iterator[tuple[Json, str | None]]:
        if self._text is not None:
            yield {"role": "assistant", "content": "", "refusal": None}, None
            pieces = self._said.chunks if isinstance(self._said, Says) else None
            for piece in _pieces(self._text, pieces):
                yield {"content": piece}, None
        for number in range(len(self._calls)):
            call = self._call(number)
            arguments = call["function"]["arguments"]
            first = {"index": number, **call, "function": {"name": call["function"]["name"], "arguments": ""}}
            role: Json = {"role": "assistant", "content": None} if number == 0 and self._text is None else {}
            yield {**role, "tool_calls": [first]}, None
            for piece in _pieces(arguments, 3):
                yield {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}, None
        yield {}, self._finish

    def _call(self, number: int) -> Json:
        name, arguments = self._calls[number]
        id = "call_" + hashlib.sha256(f"{self.digest}{number}".encode()).hexdigest()[:24]
        return {"id": id, "type": "function", "function": {"name": name, "arguments": _arguments(arguments)}}

    def _head(self, object: str) -> Json:
        return {
            "id": "chatcmpl-" + self.digest[:29],
            "object": object,
            "created": int(time.time()),
            "model": self._model,
        }


_FINGERPRINT = {"system_fingerprint": "fp_scripted"}


def count_prompt(body: Json) -> int:
    """The prompt's tokens: its words, and one a message."""
    return sum(len(text_of(message).split()) + 1 for message in body["messages"])


def _cut_text(body: Json, said: Says | Calls) -> tuple[str | None, str]:
    """The text as stop sequences and the token limit leave it, and the reason why it ends."""
    if isinstance(said, Calls):
        return said.text, "tool_calls"
    text, finish = said.text, said.finish
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is not None and len(text.split()) > limit:
        text, finish = " ".join(text.split()[:limit]), "length"
    return text, finish


def _pieces(text: str, count: int | None) -> list[str]:
    """``text`` in ``count`` about equal pieces, or a piece a word."""
    if not text:
        return []
    if count is None:
        words = text.split(" ")
        return [word if index == 0 else " " + word for index, word in enumerate(words)]
    size = max(1, -(-len(text) // count))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _arguments(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _compact(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
