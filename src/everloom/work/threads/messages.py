"""From a message as a request writes it to the message that is kept."""

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.kit.ids import new_id
from everloom.objects.files import File
from everloom.objects.messages import (
    Content,
    ImageFileContent,
    InputContent,
    InputText,
    Message,
    NewMessage,
    Text,
    TextContent,
)
from everloom.objects.runs import Run
from everloom.objects.threads import Thread
from everloom.store.base import Absent, Add, Change
from everloom.work.threads.resources import attach, check_attachments, gather


async def compose(ctx: Context, thread_id: str, new: NewMessage) -> Message:
    """The message to keep. Errors: 404 for a file that is not there, 400 for an image URL that is none."""
    parts: list[InputContent] = [InputText(text=new.content)] if isinstance(new.content, str) else new.content
    content: list[Content] = []
    for index, part in enumerate(parts):
        if isinstance(part, InputText):
            content.append(TextContent(text=Text(value=part.text)))
            continue
        if isinstance(part, ImageFileContent):
            await ctx.store.get(File, part.image_file.file_id)
        elif not part.image_url.url.startswith(("https://", "http://")):
            raise BadRequest(
                f"Invalid 'content[{index}].image_url.url'. Expected a valid URL, but got a value with an invalid "
                "format.",
                param=f"content[{index}].image_url.url",
                code="invalid_value",
            )
        content.append(part)
    made = now()
    return Message(
        id=new_id("msg_"),
        created_at=made,
        thread_id=thread_id,
        role=new.role,
        content=content,
        completed_at=made,
        attachments=await check_attachments(ctx, new.attachments),
        metadata=new.metadata or {},
    )


def claim(thread_id: str, *messages: Message) -> Change[Thread]:
    """Lock a thread for messages to come, and let its tools reach what is attached to them."""
    attachments = [attachment for message in messages for attachment in message.attachments]
    if not attachments:
        return Change(Thread, thread_id)
    return Change(Thread, thread_id, lambda thread: gather(thread.tool_resources, attachments))


async def append(ctx: Context, thread_id: str, new: NewMessage) -> Message:
    """Add a message to a thread that no run holds. Errors: 400 while a run is active."""
    message = await compose(ctx, thread_id, new)
    await attach(ctx, thread_id, [message])
    await ctx.store.write(
        claim(thread_id, message),
        Absent(
            Run,
            lambda run: BadRequest(f"Can't add messages to {thread_id} while a run {run.id} is active."),
            thread_id=thread_id,
            active=True,
        ),
        Add(message),
    )
    return message
