"""What tools may reach, checked before it is kept: files of this project, vector stores of this project."""

from collections.abc import Iterable

from msgspec import UNSET

from everloom.context import Context
from everloom.kit.errors import BadRequest
from everloom.objects.messages import Attachment, AttachmentForAnyTool, FileSearchMention, Message
from everloom.objects.threads import Thread
from everloom.objects.tools import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchResources,
    GivenToolResources,
    NewFileSearchResources,
    NewToolResources,
    ToolResources,
)
from everloom.objects.vector_stores import ExpiresAfter, NewVectorStoreFile, VectorStore
from everloom.store.base import Change, change_one
from everloom.work.vector_stores.extraction import can_be_read, refuse_unsupported
from everloom.work.vector_stores.stores import (
    THREAD_STORE,
    add_files,
    check_files,
    check_stores,
    create_store,
    has_expired,
    remove_store,
)


async def settle_resources(
    ctx: Context,
    wanted: NewToolResources | GivenToolResources | None,
    *,
    lives: ExpiresAfter | None = None,
    param: str = "tool_resources",
) -> ToolResources:
    """The tool resources to keep for what a request asks, its vector store made where it describes one.

    ``lives``: how long a store made here does. Errors: 404 for files and stores that are not there.
    """
    kept = ToolResources()
    if wanted is None:
        return kept
    if code := wanted.code_interpreter:
        await check_files(ctx, code.file_ids)
        kept.code_interpreter = CodeInterpreterResources(file_ids=list(dict.fromkeys(code.file_ids)))
    if search := wanted.file_search:
        kept.file_search = FileSearchResources(vector_store_ids=search.vector_store_ids)
        await check_stores(ctx, search.vector_store_ids, f"{param}.file_search.vector_store_ids")
        described = search.vector_stores if isinstance(search, NewFileSearchResources) else []
        if described and search.vector_store_ids:
            raise BadRequest(
                f"'{param}.file_search.vector_store_ids' and '{param}.file_search.vector_stores' exclude each other.",
                param=f"{param}.file_search.vector_stores",
                code="invalid_value",
            )
        for new in described:
            store = await create_store(
                ctx,
                file_ids=new.file_ids,
                chunking=new.chunking_strategy,
                metadata=new.metadata,
                expires_after=lives,
            )
            kept.file_search = FileSearchResources(vector_store_ids=[store.id])
    return kept


async def check_attachments(ctx: Context, attachments: Iterable[Attachment] | None) -> list[Attachment]:
    """The attachments of a message to keep: where any tool will do, a file that cannot be searched is for the others.

    Errors: 404 for a file that is not there, 400 for one that is to be searched and cannot be.
    """
    given = list(attachments or ())
    kept: list[Attachment] = []
    searched: list[str] = []
    for attachment, file in zip(given, await check_files(ctx, [new.file_id for new in given]), strict=True):
        tools = attachment.tools
        if isinstance(attachment, AttachmentForAnyTool):
            tools = [tool for tool in tools if not isinstance(tool, FileSearchMention) or can_be_read(file.filename)]
        if any(isinstance(tool, FileSearchMention) for tool in tools):
            searched.append(file.filename)
        kept.append(Attachment(file_id=file.id, tools=tools))
    refuse_unsupported(searched)
    return kept


def gather(resources: ToolResources, attachments: Iterable[Attachment]) -> None:
    """Give a thread's code interpreter the files that were attached for it."""
    named = [
        attachment.file_id
        for attachment in attachments
        if any(isinstance(tool, CodeInterpreterTool) for tool in attachment.tools)
    ]
    if named:
        known = resources.code_interpreter.file_ids if resources.code_interpreter else []
        resources.code_interpreter = CodeInterpreterResources(file_ids=list(dict.fromkeys([*known, *named])))


# --- the thread's own vector store -----------------------------------------------------------------------------------


async def attach(ctx: Context, thread_id: str, messages: Iterable[Message]) -> None:
    """Have a thread's vector store read what messages bring for file search; made where there is none that lives.

    To be called before the messages are kept: what is read in vain does no harm, and nothing is missing.
    """
    file_ids = _for_search(messages)
    if not file_ids:
        return
    known = _store_ids((await ctx.store.get(Thread, thread_id)).tool_resources)
    if not await _living(ctx, known):
        known = await _new_store(ctx, thread_id, known)
    await add_files(ctx, known[0], [NewVectorStoreFile(file_id=id) for id in file_ids])


async def attach_new(ctx: Context, resources: ToolResources, messages: Iterable[Message]) -> None:
    """As ``attach``, for a thread that is not kept yet and has these resources."""
    file_ids = _for_search(messages)
    if not file_ids:
        return
    known = _store_ids(resources)
    if await _living(ctx, known):
        await add_files(ctx, known[0], [NewVectorStoreFile(file_id=id) for id in file_ids])
    else:
        store = await create_store(ctx, file_ids=file_ids, expires_after=THREAD_STORE)
        resources.file_search = FileSearchResources(vector_store_ids=[store.id])


async def _new_store(ctx: Context, thread_id: str, instead_of: list[str]) -> list[str]:
    """Give a thread a store; the ids of its stores, which are others if somebody was faster."""
    store = await create_store(ctx, expires_after=THREAD_STORE)

    def edit(thread: Thread) -> None:
        if _store_ids(thread.tool_resources) == instead_of:
            thread.tool_resources.file_search = FileSearchResources(vector_store_ids=[store.id])

    thread = await change_one(ctx.store, Change(Thread, thread_id, edit))
    ids = _store_ids(thread.tool_resources)
    if ids != [store.id]:
        await remove_store(ctx, store.id)
    return ids


def _for_search(messages: Iterable[Message]) -> list[str]:
    return list(
        dict.fromkeys(
            attachment.file_id
            for message in messages
            for attachment in message.attachments
            if any(isinstance(tool, FileSearchMention) for tool in attachment.tools)
        )
    )


def _store_ids(resources: ToolResources) -> list[str]:
    return [] if resources.file_search is UNSET else resources.file_search.vector_store_ids


async def _living(ctx: Context, store_ids: list[str]) -> bool:
    """Whether the first of the stores is there and has not expired."""
    stores = await ctx.store.all(VectorStore, id=store_ids[:1]) if store_ids else []
    return bool(stores) and not has_expired(stores[0])
