"""What is looked for in all that was found, before any of it is written: the bytes of files, where tools look for files
that the older form hung on assistants and messages, and threads that nobody saved.
"""

from collections.abc import Iterable
from hashlib import blake2b

from everloom.context import Context
from everloom.objects.assistants import Assistant
from everloom.objects.base import encode
from everloom.objects.files import AssistantFile, File
from everloom.objects.messages import Attachment, FileSearchMention, Message
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.objects.tools import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchResources,
    FileSearchTool,
    ToolResources,
)
from everloom.objects.vector_stores import VectorStore, VectorStoreFile, file_key
from everloom.work.threads.resources import gather
from everloom.work.transfer.shapes import OBJECTS, Shaped
from everloom.work.transfer.stage import Stage, Staged
from everloom.work.vector_stores.extraction import can_be_read

_NO_CONTENT = "its content is not beside it: a file named as its id, or as the file"


_ATTACHED = b'"attachments":[{'
"""In the body of every message that brings files, and seldom in another."""


async def complete(ctx: Context, stage: Stage) -> None:
    """Make what was laid out whole."""
    _find_contents(stage)
    for staged in stage.each(Assistant, older=True):
        await _settle_assistant(ctx, stage, staged)
    await _make_threads(ctx, stage, Message)
    await _make_threads(ctx, stage, Run)
    for staged in stage.each(Thread, older=True):
        await _settle_thread(ctx, stage, staged)


def _find_contents(stage: Stage) -> None:
    """Take out the files of which nobody has the bytes, and take no content for a file of records."""
    for staged in stage.each(File):
        file: File = staged.thing
        content = stage.content_of(file)
        if content is None:
            why = _NO_CONTENT
        elif content.size != file.bytes:
            why = f"its content has {content.size} bytes, and it says {file.bytes}"
        else:
            stage.forget_records_of(content.number)
            continue
        stage.remove(File, file.id)
        stage.note(staged.file, staged.line, OBJECTS[File], file.id, why)


# --- files of the older form -----------------------------------------------------------------------------------------


async def _settle_assistant(ctx: Context, stage: Stage, staged: Staged) -> None:
    """The files of an assistant for its tools."""
    assistant: Assistant = staged.thing
    attached = {each.thing.file_id: each.thing for each in stage.hung_on(assistant.id, AssistantFile)}
    file_ids = list(dict.fromkeys([*stage.named_by(assistant.id), *attached]))
    if not file_ids:
        return
    for id in file_ids:
        if id not in attached:
            key = file_key(assistant.id, "file")
            row = AssistantFile(id=key, created_at=assistant.created_at, assistant_id=assistant.id, file_id=id)
            stage.add(Shaped(row), staged.file, staged.line)
    resources = ToolResources()
    if any(isinstance(tool, CodeInterpreterTool) for tool in assistant.tools):
        resources.code_interpreter = CodeInterpreterResources(file_ids=file_ids)
    if any(isinstance(tool, FileSearchTool) for tool in assistant.tools):
        await _give_store(ctx, stage, staged, resources, file_ids)
    assistant.tool_resources = resources
    stage.replace(Assistant, assistant.id, assistant)


async def _settle_thread(ctx: Context, stage: Stage, staged: Staged) -> None:
    """What messages brought, for the tools of their thread."""
    thread: Thread = staged.thing
    attachments: dict[bytes, Attachment] = {}
    for each in stage.hung_on(thread.id, Message, _ATTACHED):
        for attachment in each.thing.attachments:
            attachments[encode(attachment)] = attachment
    if not attachments:
        return
    gather(thread.tool_resources, attachments.values())
    searched = [each.file_id for each in attachments.values() if _is_searched(each)]
    await _give_store(ctx, stage, staged, thread.tool_resources, list(dict.fromkeys(searched)))
    stage.replace(Thread, thread.id, thread)


def _is_searched(attachment: Attachment) -> bool:
    return any(isinstance(tool, FileSearchMention) for tool in attachment.tools)


async def _give_store(
    ctx: Context, stage: Stage, staged: Staged, resources: ToolResources, file_ids: Iterable[str]
) -> None:
    """A vector store of those files that stand or come, and can be searched. Its id follows from its owner's, so that
    whoever imports the same again finds it.
    """
    owner = staged.thing
    names = {id: file.filename for id in file_ids if (file := stage.get(File, id)) is not None}
    missing = [id for id in file_ids if id not in names]
    names |= {file.id: file.filename for file in (await ctx.store.all(File, id=missing) if missing else ())}
    searched = [id for id in file_ids if id in names and can_be_read(names[id])]
    if not searched:
        return
    digest = blake2b(f"{OBJECTS[staged.cls]} {owner.id}".encode(), digest_size=12).hexdigest()
    store = VectorStore(id=f"vs_{digest}", created_at=owner.created_at, last_active_at=owner.created_at)
    stage.add(Shaped(store), staged.file, staged.line)
    for id in searched:
        row = VectorStoreFile(id=id, created_at=owner.created_at, vector_store_id=store.id)
        stage.add(Shaped(row), staged.file, staged.line)
    resources.file_search = FileSearchResources(vector_store_ids=[store.id])


# --- threads that nobody saved ---------------------------------------------------------------------------------------


async def _make_threads(ctx: Context, stage: Stage, cls: type[Message] | type[Run]) -> None:
    """The threads of messages and runs, since there never was a list of them: made where the first of those was."""
    last = ""
    while found := stage.orphans(cls, Thread, last):
        ids = [id for id, *_ in found]
        standing = {thread.id for thread in await ctx.store.all(Thread, id=ids)}
        for id, created_at, file, line in found:
            if id not in standing:
                stage.add(Shaped(Thread(id=id, created_at=created_at), older=True), file, line)
        last = ids[-1]
