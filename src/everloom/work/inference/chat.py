"""Chat completions of models. Callers: chat completions, the run loop, batches."""

from collections.abc import AsyncGenerator

from everloom.context import Context
from everloom.context.answers import CompletionAnswer
from everloom.kit.errors import BadRequest, ModelFailure
from everloom.kit.sse import DataLines
from everloom.models.registry import UnknownModel
from everloom.objects.base import JsonObject
from everloom.objects.chat import ChatChunk
from everloom.work.inference.chunks import ChunkReader


def check_model(ctx: Context, name: str) -> None:
    """Ask that somebody serves the model that an assistant or a run names. Errors: 400 in the words of these."""
    try:
        ctx.models.resolve(name, "chat")
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


async def stream_chunks(ctx: Context, body: JsonObject) -> AsyncGenerator[ChatChunk]:
    """The chunks of a streamed answer, decoded; the last one always carries the usage.

    Close the iterator early (``contextlib.aclosing``) and the model stops. Errors: as ``ask``; an answer that breaks
    off, is no JSON or tells of an error raises ``ModelFailure``.
    """
    answer = await ask(ctx, {**body, "stream": True, "stream_options": {"include_usage": True}})
    reader = ChunkReader(answer.model)
    told = False
    try:
        async for block in answer.blocks():
            for chunk in reader.feed(block):
                told = told or chunk.usage is not None
                yield chunk
        for chunk in reader.end():
            told = told or chunk.usage is not None
            yield chunk
    finally:
        await answer.close()
    if not reader.heard:
        raise ModelFailure(f"The model {answer.model} answered without a single event.", code="upstream_broken")
    if not told:
        yield ChatChunk(usage=answer.usage, model=answer.model)


def cut(lines: DataLines, block: bytes, model: str) -> list[bytes]:
    """The payloads that ``block`` completes; ``ModelFailure`` for an event without an end."""
    try:
        return lines.feed(block)
    except ValueError as error:
        raise ModelFailure(f"The model {model} sent {error}.", code="upstream_broken") from error
