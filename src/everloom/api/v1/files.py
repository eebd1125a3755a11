"""Files that hang on an assistant or a message by themselves, as they did in v1.

An assistant's files are rows (``AssistantFile``). The id of a row is one of the assistant's twenty
places, so the limit holds, and two requests that attach at once cannot both take what is free: one
of them meets a ``Conflict`` and looks again. v2 sees the files in ``tool_resources`` of the code
interpreter, while the assistant has that tool, and in a vector store of the assistant's, while it searches
(``retrieval.py``); what v2 changes there is not shown in v1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import UNSET, Struct

from everloom.api.http.paging import paginate
from everloom.api.http.routes import Routes
from everloom.api.v1 import views
from everloom.api.v1.bodies import ASSISTANT_FILES, AssistantChangesV1, NewAssistantV1, translated
from everloom.api.v1.objects import AssistantFileV1, MessageFileV1
from everloom.api.v1.retrieval import mirror_store, searches
from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import ApiError, BadRequest, NotFound
from everloom.kit.ids import new_id
from everloom.objects.assistants import Assistant
from everloom.objects.base import Deleted, Page, PageQuery, encode
from everloom.objects.files import AssistantFile, File
from everloom.objects.messages import Message
from everloom.objects.threads import Thread
from everloom.objects.tools import CodeInterpreterResources, CodeInterpreterTool, Tool
from everloom.store.base import Add, Change, Conflict, Remove
from everloom.work.inference.chat import check_model
from everloom.work.vector_stores.extraction import can_be_read, refuse_unsupported
from everloom.work.vector_stores.stores import check_searchable

routes = Routes(permission="assistants", api_family="assistants", ids={"assistant_id": Assistant})
of_messages = Routes(permission="threads", api_family="assistants", ids={"thread_id": Thread, "message_id": Message})

_TRIES = 10
"""How often a change of attachments looks again before it gives way to the others: 409, which clients retry."""


class NewAssistantFileV1(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file to attach (CreateAssistantFileRequest)."""

    file_id: str


# --- assistants that bring files -------------------------------------------------------------------------------------


@routes.post("/assistants")
async def create_assistant(ctx: Context, body: NewAssistantV1) -> Assistant:
    """createAssistant. Errors: 404 for a file that is not there, 400 for a model nobody serves or a file that is to be
    searched and cannot be.
    """
    await check_model(ctx, body.model)
    settings = {name: value for name, value in translated(body).items() if value is not None}
    file_ids = list(dict.fromkeys(settings.pop("file_ids")))
    assistant = Assistant(id=new_id("asst_"), created_at=now(), **settings)
    _mirror(assistant, had=False, before=[], after=file_ids)
    if searches(assistant):
        await check_searchable(ctx, file_ids)
    rows = _rows(assistant.id, [], file_ids)
    await ctx.store.write(*_standing(file_ids), Add(assistant), *map(Add, rows))
    await mirror_store(ctx, assistant, [], file_ids)
    return assistant


@routes.post("/assistants/{assistant_id}")
async def modify_assistant(ctx: Context, assistant_id: str, body: AssistantChangesV1) -> Assistant:
    """modifyAssistant. ``file_ids`` replaces the attachments: what is not in it is detached."""
    if body.model is not UNSET:
        await check_model(ctx, body.model)
    changes = translated(body)
    file_ids: list[str] | None = changes.pop("file_ids", None)

    def edit(assistant: Assistant) -> None:
        for name, value in changes.items():
            setattr(assistant, name, _kept(name, getattr(assistant, name), value))

    assistant, _ = await _attach(ctx, assistant_id, lambda held: held if file_ids is None else file_ids, edit)
    return assistant


def _kept(name: str, old: Any, new: Any) -> Any:
    """The new value of an assistant's field; ``null`` is what an assistant has by itself.

    What v1 sees as no change is none, so a client that writes back what it read takes nothing away
    that only v2 shows: a function's ``strict``, search options, a JSON schema, a tool of later days.
    """
    if new is None:
        return getattr(Assistant(id="", created_at=0, model=""), name)
    if name == "tools":
        seen = {_seen(tool): tool for tool in old}
        unseen = [tool for tool in old if views.tool(tool) is None]
        return [*(seen.get(_seen(tool), tool) for tool in new), *unseen]
    if name == "response_format":
        return old if views.response_format(old) == views.response_format(new) else new
    return new


def _seen(tool: Tool) -> bytes:
    return encode(views.tool(tool))


# --- assistant files -------------------------------------------------------------------------------------------------


@routes.get("/assistants/{assistant_id}/files")
async def list_assistant_files(ctx: Context, assistant_id: str, page: PageQuery) -> Page[AssistantFileV1]:
    """listAssistantFiles."""
    await ctx.store.get(Assistant, assistant_id)
    rows = await ctx.store.all(AssistantFile, assistant_id=assistant_id)
    return paginate([_shown(row) for row in rows], AssistantFileV1, page)


@routes.post("/assistants/{assistant_id}/files")
async def create_assistant_file(ctx: Context, assistant_id: str, body: NewAssistantFileV1) -> AssistantFileV1:
    """createAssistantFile. A file that is attached already stays as it is. Errors: 400 for a twenty-first."""
    _, rows = await _attach(ctx, assistant_id, lambda held: [*held, body.file_id])
    return next(_shown(row) for row in rows if row.file_id == body.file_id)


@routes.get("/assistants/{assistant_id}/files/{file_id}")
async def get_assistant_file(ctx: Context, assistant_id: str, file_id: str) -> AssistantFileV1:
    """getAssistantFile."""
    await ctx.store.get(Assistant, assistant_id)
    rows = await ctx.store.all(AssistantFile, assistant_id=assistant_id, file_id=file_id)
    if not rows:
        raise NotFound(f"No assistant file found with id '{file_id}'.")
    return _shown(rows[0])


@routes.delete("/assistants/{assistant_id}/files/{file_id}")
async def delete_assistant_file(ctx: Context, assistant_id: str, file_id: str) -> Deleted:
    """deleteAssistantFile: the attachment, in v2's view too; the file itself stays."""
    await get_assistant_file(ctx, assistant_id, file_id)
    await _attach(ctx, assistant_id, lambda held: [id for id in held if id != file_id])
    return Deleted(id=file_id, object="assistant.file.deleted")


async def _attach(
    ctx: Context,
    assistant_id: str,
    wanted: Callable[[list[str]], list[str]],
    edit: Callable[[Assistant], None] = lambda assistant: None,
) -> tuple[Assistant, list[AssistantFile]]:
    """Give an assistant the files that ``wanted`` makes of those it holds, and ``edit`` it, in one write.

    Errors: 404 for the assistant or a file, 400 past the limit, 409 where others do not cease to change it too.
    """
    await ctx.store.get(Assistant, assistant_id)
    for _ in range(_TRIES):
        rows = await ctx.store.all(AssistantFile, assistant_id=assistant_id)
        before = [row.file_id for row in rows]
        after = list(dict.fromkeys(wanted(before)))
        kept = [row for row in rows if row.file_id in after]
        new = _rows(assistant_id, kept, [file_id for file_id in after if file_id not in before])
        gone = [file_id for file_id in before if file_id not in after]
        unread = await _unread(ctx, after)
        change = Change(Assistant, assistant_id, _with_mirror(edit, before, after, unread))
        detach = [Remove(AssistantFile, assistant_id=assistant_id, file_id=gone)] if gone else []
        files = _standing(row.file_id for row in new)
        try:
            written = await ctx.store.write(*files, change, *detach, *map(Add, new))
        except Conflict:
            continue
        assistant = written[change]
        await mirror_store(ctx, assistant, before, after)
        return assistant, [*kept, *new]
    raise ApiError(409, f"Assistant {assistant_id} is being changed by other requests. Please try again.")


def _standing(file_ids: Iterable[str]) -> list[Change[File]]:
    """Ask that the files are there until the write is done; in one order, so that two writes cannot deadlock."""
    return [Change(File, file_id) for file_id in sorted(file_ids)]


def _rows(assistant_id: str, kept: Sequence[AssistantFile], file_ids: Sequence[str]) -> list[AssistantFile]:
    """New attachments, in the first places that are free. Errors: 400 when there are not enough."""
    if len(kept) + len(file_ids) > ASSISTANT_FILES:
        raise BadRequest(f"An assistant can have at most {ASSISTANT_FILES} files attached.", param="file_id")
    stem = f"asstfile_{assistant_id.removeprefix('asst_')}"
    taken = {row.id for row in kept}
    places = (place for number in range(ASSISTANT_FILES) if (place := f"{stem}_{number}") not in taken)
    made = now()
    return [
        AssistantFile(id=place, created_at=made, assistant_id=assistant_id, file_id=file_id)
        for file_id, place in zip(file_ids, places, strict=False)
    ]


async def _unread(ctx: Context, file_ids: Sequence[str]) -> dict[str, str]:
    """The files that cannot be searched, with their names."""
    files = await ctx.store.all(File, id=list(file_ids)) if file_ids else []
    return {file.id: file.filename for file in files if not can_be_read(file.filename)}


def _with_mirror(
    edit: Callable[[Assistant], None], before: Sequence[str], after: Sequence[str], unread: Mapping[str, str]
) -> Callable[[Assistant], None]:
    def change(assistant: Assistant) -> None:
        had, searched = _runs_code(assistant), searches(assistant)
        edit(assistant)
        if searches(assistant):  # what it has searched so far stays, however it came to it
            refuse_unsupported(name for id, name in unread.items() if not (searched and id in before))
        _mirror(assistant, had=had, before=before, after=after)

    return change


def _mirror(assistant: Assistant, *, had: bool, before: Sequence[str], after: Sequence[str]) -> None:
    """Show v2 what changed: files came or went, or the code interpreter did (``had`` it before).

    Only the difference is applied, since v2 may have changed the list meanwhile.
    """
    has = _runs_code(assistant)
    gone = set(before) if had and not has else set(before) - set(after)
    came = [] if not has else [id for id in after if not had or id not in before]
    resources = assistant.tool_resources.code_interpreter
    old = [] if resources is UNSET else resources.file_ids
    new = [*(id for id in old if id not in gone), *(id for id in came if id not in old)]
    if len(new) > ASSISTANT_FILES:
        raise BadRequest(
            f"The code interpreter of an assistant can have at most {ASSISTANT_FILES} files.", param="file_ids"
        )
    if new != old:
        assistant.tool_resources.code_interpreter = CodeInterpreterResources(file_ids=new)


def _runs_code(assistant: Assistant) -> bool:
    return any(isinstance(tool, CodeInterpreterTool) for tool in assistant.tools)


def _shown(row: AssistantFile) -> AssistantFileV1:
    return AssistantFileV1(id=row.file_id, created_at=row.created_at, assistant_id=row.assistant_id)


# --- message files ---------------------------------------------------------------------------------------------------


@of_messages.get("/threads/{thread_id}/messages/{message_id}/files")
async def list_message_files(ctx: Context, thread_id: str, message_id: str, page: PageQuery) -> Page[MessageFileV1]:
    """listMessageFiles."""
    return paginate(await _files_of(ctx, thread_id, message_id), MessageFileV1, page)


@of_messages.get("/threads/{thread_id}/messages/{message_id}/files/{file_id}")
async def get_message_file(ctx: Context, thread_id: str, message_id: str, file_id: str) -> MessageFileV1:
    """getMessageFile."""
    for file in await _files_of(ctx, thread_id, message_id):
        if file.id == file_id:
            return file
    raise NotFound(f"No message file found with id '{file_id}'.")


async def _files_of(ctx: Context, thread_id: str, message_id: str) -> list[MessageFileV1]:
    await ctx.store.get(Thread, thread_id)
    message = await ctx.store.get(Message, message_id, thread_id=thread_id)
    file_ids = dict.fromkeys(attachment.file_id for attachment in message.attachments)
    standing = {file.id for file in await ctx.store.all(File, id=list(file_ids))} if file_ids else set()
    return [
        MessageFileV1(id=id, created_at=message.created_at, message_id=message.id) for id in file_ids if id in standing
    ]
