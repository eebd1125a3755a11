"""How v1 clients see what is stored: the common JSON of each noun, turned into the older form of it.

Views work on JSON documents, told apart by ``object``, because answers, pages and events all carry
the same documents. Whatever v1 requires is always there; what it never knew is left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from everloom.api.v1.dialect import DIALECT
from everloom.context import Context
from everloom.objects.base import JsonObject, Object, Page, encode
from everloom.objects.files import AssistantFile

_decode = msgspec.json.Decoder(JsonObject).decode

FileIds = dict[str, list[str]]
"""The files of assistants, by the assistant's id."""


async def down(ctx: Context, answer: Any) -> Any:
    """The answer of a handler as a v1 client knows it."""
    if isinstance(answer, Page):
        documents = [_decode(body) for body in answer.bodies]
        return answer.with_bodies([encode(document) for document in await shown(ctx, documents)])
    if isinstance(answer, Object):
        answer = encode(answer)
    if isinstance(answer, bytes):
        (document,) = await shown(ctx, [_decode(answer)])
        return encode(document)
    return answer


async def event(ctx: Context, name: str, data: bytes) -> tuple[str, bytes]:
    """One event of a stream as a v1 client knows it: its name and its data."""
    marks = _DELTAS.get(name)
    if not name.startswith("thread.") or (marks is not None and not any(mark in data for mark in marks)):
        return name, data
    (document,) = await shown(ctx, [_decode(data)])
    return _EVENTS.get(name, name), encode(document)


DIALECT.down = down
DIALECT.event = event

_EVENTS = {"thread.run.incomplete": "thread.run.completed"}

_DELTAS = {
    "thread.message.delta": (b'"refusal"', b'"file_citation"', b'"image_file"', b'"image_url"'),
    "thread.run.step.delta": (b'"file_search"',),
}
"""Deltas are many and rarely differ: only those with one of these bytes in them are read."""


async def shown(ctx: Context, documents: Sequence[JsonObject]) -> list[JsonObject]:
    """The documents in their v1 form; one query for the files of all assistants in them."""
    owners = {_OWNER[document["object"]](document) for document in documents if document.get("object") in _OWNER}
    file_ids: FileIds = {owner: [] for owner in owners}
    if owners:
        for row in await ctx.store.all(AssistantFile, assistant_id=sorted(owners)):
            file_ids[row.assistant_id].append(row.file_id)
    return [_view(document, file_ids) for document in documents]


_OWNER: dict[str, Callable[[JsonObject], str]] = {
    "assistant": lambda assistant: assistant["id"],
    "thread.run": lambda run: run["assistant_id"],
}
"""The nouns that show an assistant's files, and whose files those are."""


def _view(document: JsonObject, file_ids: FileIds) -> JsonObject:
    view = _VIEWS.get(document.get("object", ""))
    return document if view is None else view(document, file_ids)


def _assistant(assistant: JsonObject, file_ids: FileIds) -> JsonObject:
    assistant = _renamed(assistant, "tool_resources", "file_ids", file_ids[assistant["id"]])
    assistant["tools"] = [tool(each) for each in assistant["tools"]]
    assistant["response_format"] = response_format(assistant["response_format"])
    return assistant


def _thread(thread: JsonObject, file_ids: FileIds) -> JsonObject:
    return _without(thread, "tool_resources")


def _message(message: JsonObject, file_ids: FileIds) -> JsonObject:
    files = dict.fromkeys(attachment["file_id"] for attachment in message.get("attachments") or ())
    message = _renamed(message, "attachments", "file_ids", list(files))
    message["content"] = [_part(part) for part in message["content"]]
    return message


def _run(run: JsonObject, file_ids: FileIds) -> JsonObject:
    run = _renamed(run, "tool_resources", "file_ids", file_ids[run["assistant_id"]])
    run = _without(run, "parallel_tool_calls")
    run["tools"] = [tool(each) for each in run["tools"]]
    run["response_format"] = response_format(run["response_format"])
    run["tool_choice"] = _tool_choice(run["tool_choice"])
    if run["status"] == "incomplete":
        # v1 pollers wait for ever for a status they do not know; recorded: completed, incomplete_details set.
        run["status"] = "completed"
        run["completed_at"] = run["completed_at"] or run["started_at"] or run["created_at"]
    return run


def _step(step: JsonObject, file_ids: FileIds) -> JsonObject:
    return {**step, "step_details": _step_details(step["step_details"])}


def _message_delta(delta: JsonObject, file_ids: FileIds) -> JsonObject:
    grown = delta["delta"]
    return {**delta, "delta": {**grown, "content": [_part(part) for part in grown.get("content") or ()]}}


def _step_delta(delta: JsonObject, file_ids: FileIds) -> JsonObject:
    grown = delta["delta"]
    return {**delta, "delta": {**grown, "step_details": _step_details(grown["step_details"])}}


_VIEWS: dict[str, Callable[[JsonObject, FileIds], JsonObject]] = {
    "assistant": _assistant,
    "thread": _thread,
    "thread.message": _message,
    "thread.run": _run,
    "thread.run.step": _step,
    "thread.message.delta": _message_delta,
    "thread.run.step.delta": _step_delta,
}


# --- parts of them ---------------------------------------------------------------------------------------------------


def tool(tool: JsonObject) -> JsonObject:
    """A tool by its v1 name, with what v1 knew of it."""
    if tool["type"] == "file_search":
        return {"type": "retrieval"}
    if tool["type"] == "function":
        return {**tool, "function": _without(tool["function"], "strict")}
    return tool


def response_format(format: Any) -> Any:
    """v1 knew no schemas: an answer that follows one is a JSON object all the same."""
    if isinstance(format, dict) and format["type"] == "json_schema":
        return {"type": "json_object"}
    return format


def _tool_choice(choice: Any) -> Any:
    """v1 could not require a tool without naming it; whether the model had to choose one is not shown."""
    if choice == "required":
        return "auto"
    if isinstance(choice, dict) and choice["type"] == "file_search":
        return {**choice, "type": "retrieval"}
    return choice


def _part(part: JsonObject) -> JsonObject:
    """A piece of a message, or of its delta: v1 knows text and image files, the others are shown as text."""
    kind = part["type"]
    if kind == "text":
        return {**part, "text": _text(part.get("text") or {})}
    if kind == "image_file":
        return {**part, "image_file": _without(part["image_file"], "detail")}
    value = part["refusal"] if kind == "refusal" else part["image_url"]["url"]
    place = {"index": part["index"]} if "index" in part else {}
    return {**place, "type": "text", "text": {"value": value, "annotations": []}}


def _text(text: JsonObject) -> JsonObject:
    if not text.get("annotations"):
        return text
    return {**text, "annotations": [_annotation(annotation) for annotation in text["annotations"]]}


def _annotation(annotation: JsonObject) -> JsonObject:
    """v1's citations always had a quote."""
    if annotation["type"] != "file_citation":
        return annotation
    return {**annotation, "file_citation": {"quote": "", **annotation.get("file_citation", {})}}


def _step_details(details: JsonObject) -> JsonObject:
    if "tool_calls" not in details:
        return details
    return {**details, "tool_calls": [_call(call) for call in details["tool_calls"]]}


def _call(call: JsonObject) -> JsonObject:
    """A search showed nothing of what it did or found."""
    if call["type"] != "file_search":
        return call
    return {**_without(call, "file_search"), "type": "retrieval", "retrieval": {}}


def _without(document: JsonObject, name: str) -> JsonObject:
    return {key: value for key, value in document.items() if key != name}


def _renamed(document: JsonObject, name: str, new_name: str, value: Any) -> JsonObject:
    """The document with another member where ``name`` stood, or at its end."""
    renamed = {new_name if key == name else key: value if key == name else old for key, old in document.items()}
    renamed.setdefault(new_name, value)
    return renamed
