"""What tools may reach, checked before it is kept: files of this project, vector stores of this project."""

from collections.abc import Iterable

from everloom.context import Context
from everloom.kit.errors import BadRequest, NotFound
from everloom.objects.files import File
from everloom.objects.messages import Attachment
from everloom.objects.tools import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchResources,
    GivenToolResources,
    NewToolResources,
    ToolResources,
)


async def settle_resources(
    ctx: Context, wanted: NewToolResources | GivenToolResources | None, *, param: str = "tool_resources"
) -> ToolResources:
    """The tool resources to keep for what a request asks. Errors: 404 for files and stores that are not there."""
    kept = ToolResources()
    if wanted is None:
        return kept
    if code := wanted.code_interpreter:
        await check_files(ctx, code.file_ids)
        kept.code_interpreter = CodeInterpreterResources(file_ids=list(dict.fromkeys(code.file_ids)))
    if search := wanted.file_search:
        if getattr(search, "vector_stores", None):
            raise BadRequest(
                "This version of the server has no vector stores yet: 'vector_stores' cannot be created.",
                param=f"{param}.file_search.vector_stores",
                code="unsupported_parameter",
            )
        for id in search.vector_store_ids:
            raise NotFound(f"Vector store with id [{id}] not found.", param=f"{param}.file_search.vector_store_ids[0]")
        kept.file_search = FileSearchResources()
    return kept


async def check_files(ctx: Context, ids: Iterable[str]) -> None:
    """Ask that every file is there. Errors: 404 for the first that is not."""
    for id in ids:
        await ctx.store.get(File, id)


async def check_attachments(ctx: Context, attachments: Iterable[Attachment] | None) -> list[Attachment]:
    """The attachments of a message, their files checked."""
    kept = list(attachments or ())
    await check_files(ctx, (attachment.file_id for attachment in kept))
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
