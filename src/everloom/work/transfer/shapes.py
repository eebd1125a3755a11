"""From a record as a script saved it to the object that is kept: in the form of the API that stands or the older one.

What a record says is not judged but for its shape: what a program could not have been shown by this API is no object of
it. Members that are not known are left out, as are tools, calls and parts of kinds that do not exist here; the report
says so. A run that had not ended when it was saved has nobody who would end it: it is taken as expired, as is a batch,
and a job of fine-tuning as cancelled.
"""

import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from msgspec import Struct

from everloom.objects.assistants import Assistant
from everloom.objects.base import JsonObject, Object
from everloom.objects.batches import Batch
from everloom.objects.files import AssistantFile, File
from everloom.objects.fine_tuning import FineTuningJob, FineTuningJobCheckpoint, FineTuningJobEvent
from everloom.objects.messages import ImageUrlContent, IncompleteMessage, Message
from everloom.objects.runs import TERMINAL, Run
from everloom.objects.steps import RunStep
from everloom.objects.threads import Thread
from everloom.objects.vector_stores import VectorStore, VectorStoreFile, file_key
from everloom.work.transfer.documents import NoRecord

LONGEST_ID = 128
_FORBIDDEN = frozenset("/\\?#%")
_FILE_ID = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_DAY = 86_400
_LAST = 2**40
"""A time after all others."""

NOUNS: dict[str, type[Object]] = {
    "file": File,
    "batch": Batch,
    "fine_tuning.job": FineTuningJob,
    "fine_tuning.job.event": FineTuningJobEvent,
    "fine_tuning.job.checkpoint": FineTuningJobCheckpoint,
    "vector_store": VectorStore,
    "vector_store.file": VectorStoreFile,
    "assistant": Assistant,
    "assistant.file": AssistantFile,
    "thread": Thread,
    "thread.run": Run,
    "thread.run.step": RunStep,
    "thread.message": Message,
}
"""What is taken, by ``object``, in the order in which it is written: what others hang on first. Messages come last,
each thread's in their order: where the newest stands, all of its thread does.
"""

OBJECTS = {cls: name for name, cls in NOUNS.items()}

PARENTS: dict[type[Object], tuple[type[Object], str]] = {
    FineTuningJobEvent: (FineTuningJob, "fine_tuning_job_id"),
    FineTuningJobCheckpoint: (FineTuningJob, "fine_tuning_job_id"),
    VectorStoreFile: (VectorStore, "vector_store_id"),
    AssistantFile: (Assistant, "assistant_id"),
    Message: (Thread, "thread_id"),
    Run: (Thread, "thread_id"),
    RunStep: (Run, "run_id"),
}
"""What an object hangs on, without which nobody would find it, and the member that names it."""


class Shaped(Struct):
    """An object to keep. ``left_out`` of its record. ``older`` form: its files are wherever its tools look.

    ``weak``: it had not ended when it was saved. A later record of it counts more.
    """

    thing: Object
    left_out: list[str] = []
    older: bool = False
    file_ids: list[str] = []
    weak: bool = False

    @property
    def key(self) -> str:
        """What the store will know it by. Of an assistant's file it is given by its place, later."""
        thing = self.thing
        if isinstance(thing, AssistantFile):
            return file_key(thing.assistant_id, thing.file_id)
        return thing.key if isinstance(thing, VectorStoreFile) else thing.id

    @property
    def parent(self) -> str:
        """The id of what it hangs on; empty for what hangs on nothing."""
        if (held := PARENTS.get(type(self.thing))) is None:
            return ""
        return str(getattr(self.thing, held[1]))


def shaped(record: JsonObject) -> Shaped:
    """The object of a record. Errors: ``NoRecord``."""
    name = record.get("object")
    if not isinstance(name, str) or (cls := NOUNS.get(name)) is None:
        raise NoRecord(_foreign(name))
    left_out: list[str] = []
    try:
        thing = _converted(_TRANSLATE.get(cls, _same)(dict(record), left_out), cls)
    except (TypeError, RecursionError) as error:
        raise NoRecord(f"no {name}: {error}") from error
    _check(thing)
    found = Shaped(thing, left_out)
    if isinstance(thing, Message | Run | RunStep | Batch | FineTuningJob):
        found.weak = _ended(thing)
    found.older = isinstance(thing, Assistant | Thread) and "tool_resources" not in record
    if isinstance(thing, Assistant) and isinstance(ids := record.get("file_ids"), list):
        found.file_ids = [id for id in ids if isinstance(id, str) and fits_file(id)]
    return found


def _foreign(name: Any) -> str:
    if not isinstance(name, str):
        return "no object of the API: it does not say what it is ('object')"
    if name.endswith(".deleted"):
        return f"the answer to a deletion ({name[:64]})"
    return f"objects of the kind {name[:64]!r} are not taken"


# --- checks ----------------------------------------------------------------------------------------------------------


def check_id(id: str, what: str = "id") -> str:
    """An id of whatever make, if it can be one. Errors: ``NoRecord``."""
    if not 0 < len(id) <= LONGEST_ID:
        raise NoRecord(f"{what} has {len(id)} characters; an id has 1 to {LONGEST_ID}")
    if not id.isprintable() or _FORBIDDEN & set(id) or id.strip(" .") != id:
        raise NoRecord(f"{what} {id!r} has characters that ids have not")
    return id


def fits_file(id: str) -> bool:
    """Whether a file can have this id, by which its bytes are stored."""
    return 0 < len(id) <= LONGEST_ID and set(id) <= _FILE_ID


def _check(thing: Object) -> None:
    check_id(thing.id)
    if isinstance(thing, File | VectorStoreFile) and not fits_file(thing.id):
        raise NoRecord(f"id {thing.id!r}: the id of a file is of letters, digits, '_' and '-'")
    if not 0 <= thing.created_at <= time.time() + _DAY:
        raise NoRecord(f"created_at {thing.created_at} is no time in Unix seconds, or one to come")
    if isinstance(thing, File) and isinstance(at := thing.expires_at, int) and not 0 <= at < _LAST:
        raise NoRecord(f"expires_at {at} is no time in Unix seconds")
    if (held := PARENTS.get(type(thing))) is not None:
        check_id(getattr(thing, held[1]), held[1])
    if isinstance(thing, Message):
        for place, part in enumerate(thing.content):
            url = part.image_url.url if isinstance(part, ImageUrlContent) else "https://"
            if not url.startswith(("https://", "http://")):
                raise NoRecord(f"content[{place}].image_url.url is no URL of the web")


def _ended(thing: Message | Run | RunStep | Batch | FineTuningJob) -> bool:
    """End what nobody else will end; whether there was anything to end. Times are those that it had."""
    if isinstance(thing, Batch | FineTuningJob):
        return _closed(thing)
    if isinstance(thing, Message):
        if thing.status != "in_progress":
            return False
        thing.status, thing.incomplete_at = "incomplete", thing.created_at
        thing.incomplete_details = IncompleteMessage(reason="run_expired")
    elif isinstance(thing, Run):
        if thing.status in TERMINAL:
            return False
        thing.status, thing.required_action = "expired", None
    else:
        if thing.status != "in_progress":
            return False
        thing.status, thing.expired_at = "expired", thing.expires_at or thing.created_at
    return True


def _closed(thing: Batch | FineTuningJob) -> bool:
    if not thing.open:
        return False
    if isinstance(thing, Batch):
        thing.status, thing.expired_at = "expired", thing.expires_at
    else:
        thing.status, thing.finished_at, thing.estimated_finish = "cancelled", thing.created_at, None
    return True


# --- the older form, and looser ones ---------------------------------------------------------------------------------

_CODE = {"type": "code_interpreter"}
_SEARCH = {"type": "file_search"}
_TOOLS = frozenset({"code_interpreter", "file_search", "function"})
_PARTS = frozenset({"text", "image_file", "image_url", "refusal"})
_ANNOTATIONS = frozenset({"file_citation", "file_path"})
_OUTPUTS = frozenset({"logs", "image"})


def _same(record: JsonObject, left_out: list[str]) -> JsonObject:
    return record


def _known(things: Any, types: Collection[str], what: str, left_out: list[str]) -> Any:
    """Those of a list that have one of these types."""
    if not isinstance(things, list):
        return things
    kept = []
    for thing in things:
        kind = thing.get("type") if isinstance(thing, dict) else None
        if isinstance(kind, str) and kind not in types:
            left_out.append(f"{what} {kind[:64]!r}")
        else:
            kept.append(thing)
    return kept


def _renamed(things: Any) -> Any:
    """Tools by the names that they have now; what the older form called retrieval had no options."""
    if not isinstance(things, list):
        return things
    return [_SEARCH if isinstance(each, dict) and each.get("type") == "retrieval" else each for each in things]


def _with_tools(record: JsonObject, left_out: list[str]) -> JsonObject:
    """An assistant or a run."""
    record["tools"] = _known(_renamed(record.get("tools") or []), _TOOLS, "tool", left_out)
    choice = record.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "retrieval":
        record["tool_choice"] = _SEARCH
    if record.get("response_format") == "none":
        record["response_format"] = "auto"
    return record


def _message(record: JsonObject, left_out: list[str]) -> JsonObject:
    file_ids = record.get("file_ids")
    if isinstance(file_ids, list) and "attachments" not in record:
        record["attachments"] = [{"file_id": id, "tools": [_CODE, _SEARCH]} for id in dict.fromkeys(file_ids)]
    content = record.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if isinstance(content, list):
        content = [_part(part, left_out) for part in _known(content, _PARTS, "part", left_out)]
    record["content"] = content or []
    return record


def _part(part: Any, left_out: list[str]) -> Any:
    text = part.get("text") if isinstance(part, dict) else None
    if isinstance(text, str):
        return {**part, "text": {"value": text}}
    if isinstance(text, dict) and text.get("annotations"):
        annotations = _known(text["annotations"], _ANNOTATIONS, "annotation", left_out)
        return {**part, "text": {**text, "annotations": annotations}}
    return part


def _step(record: JsonObject, left_out: list[str]) -> JsonObject:
    details = record.get("step_details")
    if isinstance(details, dict) and isinstance(calls := details.get("tool_calls"), list):
        calls = [_call(call, left_out) for call in calls]
        record["step_details"] = {**details, "tool_calls": _known(calls, _TOOLS, "call", left_out)}
    return record


def _call(call: Any, left_out: list[str]) -> Any:
    if not isinstance(call, dict):
        return call
    if call.get("type") == "retrieval":
        return {"id": call.get("id"), "type": "file_search", "file_search": {}}
    code = call.get("code_interpreter")
    if isinstance(code, dict) and code.get("outputs"):
        outputs = _known(code["outputs"], _OUTPUTS, "output", left_out)
        return {**call, "code_interpreter": {**code, "outputs": outputs}}
    return call


def _job(record: JsonObject, left_out: list[str]) -> JsonObject:
    """A job of fine-tuning, whose method was not said when there was only one."""
    numbers = record.get("hyperparameters")
    if record.get("method") is None and isinstance(numbers, dict):
        record["method"] = {"type": "supervised", "supervised": {"hyperparameters": numbers}}
    return record


def _attachment(record: JsonObject, left_out: list[str]) -> JsonObject:
    """An assistant's file, which the wire shows by the id of the file."""
    return {**record, "file_id": record.get("id"), "id": file_key(str(record.get("assistant_id")), "file")}


_TRANSLATE: dict[type[Object], Callable[[JsonObject, list[str]], JsonObject]] = {
    Assistant: _with_tools,
    Run: _with_tools,
    Message: _message,
    RunStep: _step,
    AssistantFile: _attachment,
    FineTuningJob: _job,
}


def _converted(given: JsonObject, cls: type[Object]) -> Object:
    """The object, read as it is or, where that cannot be, without what only a stricter reader minds."""
    try:
        return msgspec.convert(given, cls)
    except msgspec.ValidationError:
        pass
    try:
        return msgspec.convert(_loosened(given, top=True), cls)
    except msgspec.ValidationError as error:
        raise NoRecord(str(error)) from error


_OTHERS = frozenset({"parameters", "schema"})
"""Members that are JSON of the caller's own."""

_NULL_IS_SAID = frozenset({"temperature", "top_p"})
"""Members of which null says something else than that they are left out."""

_RANKERS = frozenset({"auto", "default_2024_08_21"})


def _loosened(value: Any, *, top: bool = False) -> Any:
    if isinstance(value, list):
        return [_loosened(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {
        name: each if name in _OTHERS else _loosened(each)
        for name, each in value.items()
        if each is not None or name in _OTHERS or (top and name in _NULL_IS_SAID)
    }
    if isinstance(metadata := kept.get("metadata"), dict):
        kept["metadata"] = {name: each if isinstance(each, str) else str(each) for name, each in metadata.items()}
    if isinstance(ranking := kept.get("ranking_options"), dict):
        ranker = ranking.get("ranker")
        score = ranking.get("score_threshold", 0)
        kept["ranking_options"] = {"ranker": ranker if ranker in _RANKERS else "auto", "score_threshold": score}
    return kept
