"""Stored nouns with all they need and nothing else."""

from typing import Any

from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.assistants import Assistant
from everloom.objects.files import File
from everloom.objects.fine_tuning import FineTuningJob, FineTuningMethod, Hyperparameters, SupervisedMethod
from everloom.objects.messages import Message, Text, TextContent
from everloom.objects.runs import Run
from everloom.objects.stored_completions import StoredCompletion
from everloom.objects.threads import Thread
from everloom.objects.tools import CodeInterpreterResources, ToolResources


def a_thread(**fields: Any) -> Thread:
    return Thread(**{"id": new_id("thread_"), "created_at": now()} | fields)


def a_message(thread_id: str, text: str = "hi", **fields: Any) -> Message:
    content = [TextContent(text=Text(value=text))]
    own = {"id": new_id("msg_"), "created_at": now(), "role": "user", "content": content}
    return Message(**own | {"thread_id": thread_id} | fields)


def a_run(thread_id: str, **fields: Any) -> Run:
    own = {"id": new_id("run_"), "created_at": now(), "assistant_id": "asst_1", "model": "small"}
    return Run(**own | {"thread_id": thread_id} | fields)


def a_file(**fields: Any) -> File:
    own = {"id": new_id("file-"), "created_at": now(), "bytes": 3, "filename": "a.txt", "purpose": "assistants"}
    return File(**own | fields)


def an_assistant(*code_file_ids: str, **fields: Any) -> Assistant:
    resources = ToolResources(code_interpreter=CodeInterpreterResources(file_ids=list(code_file_ids)))
    own = {"id": new_id("asst_"), "created_at": now(), "model": "small", "tool_resources": resources}
    return Assistant(**own | fields)


def a_completion(model: str, **fields: Any) -> StoredCompletion:
    own = {"id": new_id("chatcmpl-"), "created_at": now(), "model": model, "choices": []}
    return StoredCompletion(**own | fields)


def a_job(**fields: Any) -> FineTuningJob:
    method = FineTuningMethod(type="supervised", supervised=SupervisedMethod())
    own = {"id": new_id("ftjob-"), "created_at": now(), "model": "base", "training_file": "file-1", "seed": 1}
    own |= {"hyperparameters": Hyperparameters(), "method": method, "organization_id": "org-1"}
    return FineTuningJob(**own | fields)
