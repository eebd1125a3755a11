"""Stored nouns with all they need and nothing else."""

from typing import Any

from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.files import File
from everloom.objects.messages import Message, Text, TextContent
from everloom.objects.runs import Run
from everloom.objects.threads import Thread


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
