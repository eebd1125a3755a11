"""Chat completions of models. Callers: chat completions, the run loop, batches."""

from collections.abc import AsyncGenerator

from msgspec import Struct

from everloom.context import Context
from everloom.context.answers import CompletionAnswer
from everloom.kit.errors import BadRequest, ModelFailure
from everloom.kit.sse import DataLines
from everloom.models.registry import UnknownModel
from everloom.objects.base import JsonObject
from everloom.objects.chat import ChatChunk
from everloom.objects.tools import Usage
from everloom.work.inference.chunks import ChunkReader

_BYTES_A_TOKEN = 4


async def check_model(ctx: Context, name: str) -> None:
    """Ask that somebody serves the model that an assistant or a run names. Errors: 400 in the words of these."""
    try:
        await ctx.served(name, "chat")
    except UnknownModel as unknown:
        text = f"The requested model '{unknown.name}' does not exist. {unknown.hint}"
        raise BadRequest(text, param="model", code="model_not_found") from unknown


async def ask(ctx: Context, body: JsonObject, raw: bytes | None = None) -> CompletionAnswer:
    """Have the model that ``body`` names answer a chat completion request, as the request says.

    ``raw`` is the same body as the caller wrote it. Errors: 404 ``model_not_found``, the platform's 4xx,
    ``ModelFailure``. The answer must be closed.
    """
    async with ctx.ask("chat", body["model"]) as model:
        return await model.chat(body, raw)


class Heard(Struct):
    """What has been heard of a streamed answer; ``usage`` is known once it has ended, or was left."""

    size: int = 0
    """Bytes of text and of calls' arguments."""
    usage: Usage | None = None

    def take(self, chunk: ChatChunk) -> None:
        """Count a chunk."""
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices:
            self.size += len((choice.delta.content or "").encode("utf-8", "replace"))
            for call in choice.delta.tool_calls or ():
                self.size += len((call.function.arguments or "").encode("utf-8", "replace")) if call.function else 0

    def settle(self, usage: Usage | None) -> None:
        """Take what was counted by the way, where the answer itself has told nothing: no less than its length says."""
        if self.usage is None and usage is not None:
            written = max(usage.completion_tokens, -(-self.size // _BYTES_A_TOKEN))
            read = usage.prompt_tokens
            self.usage = Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


async def stream_chunks(ctx: Context, body: JsonObject, heard: Heard | None = None) -> AsyncGenerator[ChatChunk]:
    """The chunks of a streamed answer, decoded; the last one always carries the usage.

    Close the iterator early (``contextlib.aclosing``) and the model stops; what it has cost by then is in ``heard``.
    Errors: as ``ask``; an answer that breaks off, is no JSON or tells of an error raises ``ModelFailure``.
    """
    heard = heard or Heard()
    answer = await ask(ctx, {**body, "stream": True, "stream_options": {"include_usage": True}})
    reader = ChunkReader(answer.model)
    try:
        async for block in answer.blocks():
            for chunk in reader.feed(block):
                heard.take(chunk)
                yield chunk
        for chunk in reader.end():
            heard.take(chunk)
            yield chunk
    finally:
        told = heard.usage is not None
        await answer.close()
        heard.settle(answer.usage)
    if not reader.heard:
        raise ModelFailure(f"The model {answer.model} answered without a single event.", code="upstream_broken")
    if not told:
        yield ChatChunk(usage=heard.usage, model=answer.model)


def cut(lines: DataLines, block: bytes, model: str) -> list[bytes]:
    """The payloads that ``block`` completes; ``ModelFailure`` for an event without an end."""
    try:
        return lines.feed(block)
    except ValueError as error:
        raise ModelFailure(f"The model {model} sent {error}.", code="upstream_broken") from error
