"""Lines of training files as the child is given them: turns in the very form in which the engine's chat template
gets them, so that a tuned model is asked as it was trained.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from everloom.kit.errors import NO_JSON, BadRequest
from everloom.models.llama.request import TemplateFeatures, prompt
from everloom.objects.base import JsonObject, encode
from everloom.training.base import Method, TrainingFailed

LONGEST_LINE = 32 << 20
"""Bytes."""

_INPUTS = ("tools", "functions", "parallel_tool_calls")


def prepare(source: Path, target: Path, method: Method, features: TemplateFeatures, param: str) -> None:
    """Write every line of ``source`` to ``target`` as ``sequences.py`` reads it; errors call the file ``param``.

    Errors: ``TrainingFailed`` with the line's number; ``OSError``.
    """
    with source.open("rb") as file, target.open("wb") as out:
        for number, line in _lines(file, param):
            try:
                made = _prepared(msgspec.json.decode(line), method, features)
            except BadRequest as error:
                raise _fault(param, number, error.message) from error
            except (*NO_JSON, KeyError, TypeError, AttributeError) as error:
                raise _fault(param, number, f"it is no example for {method} ({error!r:.200})") from error
            out.write(encode(made) + b"\n")
        out.flush()
        os.fsync(out.fileno())


def _lines(file: IO[bytes], param: str) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise _fault(param, number, f"it is longer than {LONGEST_LINE} bytes")
        if line.strip():
            yield number, line


def _fault(param: str, number: int, text: str) -> TrainingFailed:
    return TrainingFailed(f"Line {number} of the file: {text}", code="invalid_file", param=param)


def _prepared(line: JsonObject, method: Method, features: TemplateFeatures) -> JsonObject:
    if method == "dpo":
        asked = line["input"]
        before = prompt(asked, features)
        sides = [_turns(asked, line[side], features) for side in ("preferred_output", "non_preferred_output")]
        return {"turns": before["messages"], "tools": _tools(before), "preferred": sides[0], "other": sides[1]}
    if "messages" not in line:
        return {"prompt": line["prompt"] + "", "completion": line["completion"] + ""}
    shown = prompt(_body(line, line["messages"]), features)
    turns = shown["messages"]
    return {"turns": turns, "tools": _tools(shown), "learned": _learned(turns, line["messages"])}


def _turns(asked: JsonObject, answer: Sequence[JsonObject], features: TemplateFeatures) -> list[JsonObject]:
    """The answer as it stands behind what was asked."""
    if not answer or answer[-1]["role"] != "assistant":
        raise TypeError("an output ends with a message of the assistant")
    before = prompt(asked, features)["messages"]
    turns: list[JsonObject] = prompt(_body(asked, [*asked["messages"], *answer]), features)["messages"]
    return turns[len(before) :]


def _body(line: JsonObject, messages: Sequence[JsonObject]) -> JsonObject:
    return {"messages": messages, **{name: line[name] for name in _INPUTS if line.get(name) is not None}}


def _learned(turns: Sequence[JsonObject], messages: Sequence[JsonObject]) -> list[int]:
    """The turns that are learned. Turns of examples may stand before a conversation's own, and results of tools become
    one turn: but each message of the assistant is a turn of its own, so they are counted from the end.
    """
    places = [index for index, turn in enumerate(turns) if turn["role"] == "assistant"]
    said = [message for message in messages if message["role"] == "assistant"]
    last = zip(reversed(places), reversed(said), strict=False)
    return sorted(index for index, message in last if message.get("weight") != 0)


def _tools(shown: JsonObject) -> Any:
    """What the template gets as ``tools``."""
    return (shown.get("chat_template_kwargs") or shown).get("tools")
