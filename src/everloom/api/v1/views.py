"""How v1 clients see what is stored: the common JSON of each noun, in the older form of it.

Views work on JSON documents, told apart by ``object``, because answers, pages and events all carry the same
documents. A function says which members of a document have other values in v1; ``objects.py`` says which members
there are. What v1 never knew is left out by itself: members, tools, parts of messages, calls and events.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from everloom.api.v1.objects import (
    AssistantV1,
    MessageDeltaV1,
    MessageV1,
    ResponseFormatV1,
    RunStepDeltaV1,
    RunStepV1,
    RunV1,
    ThreadV1,
    ToolV1,
)
from everloom.context import Context
from everloom.objects.base import JsonObject, Object, Page, encode
from everloom.objects.files import AssistantFile
from everloom.objects.tools import ResponseFormat, Tool

_decode = msgspec.json.Decoder(JsonObject).decode

FileIds = dict[str, list[str]]
"""The files of assistants, by the assistant's id."""


async def down(ctx: Context, answer: Any) -> Any:
    """The answer of a handler as a v1 client knows it."""
    if isinstance(answer, Page):
        documents = [_decode(body) for body in answer.bodies]
        return answer.with_bodies([encode(document) for document in await _shown(ctx, documents)])
    if isinstance(answer, Object):
        answer = encode(answer)
    if isinstance(answer, bytes):
        (document,) = await _shown(ctx, [_decode(answer)])
        return encode(document)
    return answer


async def event(ctx: Context, name: str, data: bytes) -> tuple[str, bytes] | None:
    """One event of a stream as a v1 client knows it: its name and its data. None for one that v1 has not."""
    if name in _PLAIN_EVENTS:
        return name, data
    name = _RENAMED_EVENTS.get(name, name)
    if name not in _EVENTS:
        return None
    (document,) = await _shown(ctx, [_decode(data)])
    return name, encode(document)


_PLAIN_EVENTS = frozenset({"error", "done"})

_RENAMED_EVENTS = {"thread.run.incomplete": "thread.run.completed"}

_EVENTS = frozenset(
    f"{noun}.{happened}"
    for noun, all_that_happen in {
        "thread": ["created"],
        "thread.run": [
            *("created", "queued", "in_progress", "requires_action", "completed", "failed"),
            *("cancelling", "cancelled", "expired"),
        ],
        "thread.run.step": ["created", "in_progress", "delta", "completed", "failed", "cancelled", "expired"],
        "thread.message": ["created", "in_progress", "delta", "completed", "incomplete"],
    }.items()
    for happened in all_that_happen
)
"""What v1 streams of objects (AssistantStreamEvent)."""


async def _shown(ctx: Context, documents: Sequence[JsonObject]) -> list[JsonObject | Struct]:
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


def _view(document: JsonObject, file_ids: FileIds) -> JsonObject | Struct:
    if (view := _VIEWS.get(document.get("object", ""))) is None:
        return document
    form, changes = view
    return msgspec.convert(document | changes(document, file_ids), form)


def _assistant(assistant: JsonObject, file_ids: FileIds) -> JsonObject:
    return {
        "file_ids": file_ids[assistant["id"]],
        "tools": _tools(assistant["tools"]),
        "response_format": _response_format(assistant["response_format"]),
    }


def _thread(thread: JsonObject, file_ids: FileIds) -> JsonObject:
    return {}


def _message(message: JsonObject, file_ids: FileIds) -> JsonObject:
    files = dict.fromkeys(attachment["file_id"] for attachment in message.get("attachments") or ())
    return {"file_ids": list(files), "content": _parts(message["content"])}


def _run(run: JsonObject, file_ids: FileIds) -> JsonObject:
    changes = {
        "file_ids": file_ids[run["assistant_id"]],
        "tools": _tools(run["tools"]),
        "response_format": _response_format(run["response_format"]),
        "tool_choice": _tool_choice(run["tool_choice"]),
    }
    if run["status"] == "incomplete":
        # v1 pollers wait for ever for a status they do not know; recorded: completed, incomplete_details set.
        changes["status"] = "completed"
        changes["completed_at"] = run["completed_at"] or run["started_at"] or run["created_at"]
    return changes


def _step(step: JsonObject, file_ids: FileIds) -> JsonObject:
    return {"step_details": _step_details(step["step_details"])}


def _message_delta(delta: JsonObject, file_ids: FileIds) -> JsonObject:
    grown = delta["delta"]
    return {"delta": {**grown, "content": _parts(grown.get("content") or ())}}


def _step_delta(delta: JsonObject, file_ids: FileIds) -> JsonObject:
    grown = delta["delta"]
    return {"delta": {**grown, "step_details": _step_details(grown["step_details"])}}


_VIEWS: dict[str, tuple[type[Struct], Callable[[JsonObject, FileIds], JsonObject]]] = {
    "assistant": (AssistantV1, _assistant),
    "thread": (ThreadV1, _thread),
    "thread.message": (MessageV1, _message),
    "thread.run": (RunV1, _run),
    "thread.run.step": (RunStepV1, _step),
    "thread.message.delta": (MessageDeltaV1, _message_delta),
    "thread.run.step.delta": (RunStepDeltaV1, _step_delta),
}
"""Each noun's form, and the members whose values are others in it."""


# --- parts of them ---------------------------------------------------------------------------------------------------


def tool(tool: Tool) -> ToolV1 | None:
    """A tool by its v1 name, with what v1 knew of it. None for one it did not know."""
    return next((msgspec.convert(each, ToolV1) for each in _tools([msgspec.to_builtins(tool)])), None)


def response_format(format: ResponseFormat) -> ResponseFormatV1:
    """A format as v1 shows it."""
    seen: ResponseFormatV1 = msgspec.convert(_response_format(msgspec.to_builtins(format)), ResponseFormatV1)
    return seen


_NAMES = {"code_interpreter": "code_interpreter", "function": "function", "file_search": "retrieval"}
"""What v1 calls the tools it knew."""


def _tools(tools: Iterable[JsonObject]) -> list[JsonObject]:
    return [{**each, "type": _NAMES[each["type"]]} for each in tools if each["type"] in _NAMES]


def _response_format(format: Any) -> Any:
    """v1 knew no schemas: an answer that follows one is a JSON object all the same."""
    if isinstance(format, dict) and format["type"] == "json_schema":
        return {"type": "json_object"}
    return format


def _tool_choice(choice: Any) -> Any:
    """v1 could not require a tool without naming it; whether the model had to choose one is not shown."""
    if isinstance(choice, dict):
        return {**choice, "type": _NAMES[choice["type"]]} if choice["type"] in _NAMES else "auto"
    return "auto" if choice == "required" else choice


def _parts(parts: Iterable[JsonObject]) -> list[JsonObject]:
    return [_part(part) for part in parts if part.get("type", "text") in _PARTS]


def _part(part: JsonObject) -> JsonObject:
    """A piece of a message, or of its delta: v1 knows text and image files, the others are shown as text."""
    said = _AS_TEXT.get(part.get("type", "text"))
    if said is not None:
        return {**part, "type": "text", "text": {"value": said(part), "annotations": []}}
    return {**part, "text": _text(part["text"])} if part.get("text", {}).get("annotations") else part


_MARK = re.compile(r"【(\d+):(\d+)†")


def _text(text: JsonObject) -> JsonObject:
    """A text with its marks as v1 wrote them: ``【13†source】`` (recorded) where v2 has ``【1:3†source】``.

    The colon becomes a 0, so a mark keeps its length, and indices stay right. Only what is annotated is a mark; in a
    stream that is whole in one delta, with its annotation.
    """
    value = text.get("value", "")
    annotations = []
    for annotation in text["annotations"]:
        mark = annotation.get("text", "")
        older = _MARK.sub(r"【\g<1>0\2†", mark)
        value = value.replace(mark, older) if older != mark else value
        annotations.append({**annotation, "text": older} if older != mark else annotation)
    return {**text, "annotations": annotations, **({"value": value} if "value" in text else {})}


_AS_TEXT: dict[str, Callable[[JsonObject], str]] = {
    "refusal": lambda part: part["refusal"],
    "image_url": lambda part: part["image_url"]["url"],
}
_PARTS = frozenset({"text", "image_file", *_AS_TEXT})


def _step_details(details: JsonObject) -> JsonObject:
    if "tool_calls" not in details:
        return details
    return {**details, "tool_calls": [_call(call) for call in details["tool_calls"] if call["type"] in _NAMES]}


def _call(call: JsonObject) -> JsonObject:
    """A search showed nothing of what it did or found."""
    return {**call, "type": "retrieval", "retrieval": {}} if call["type"] == "file_search" else call
