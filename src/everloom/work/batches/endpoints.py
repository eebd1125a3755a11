"""What a line of a batch may ask, read and answered by the same code as a live request."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from everloom.context import Context
from everloom.kit.errors import BadRequest
from everloom.kit.temporary_folders import temporary_folder
from everloom.models.base import Capability, Form
from everloom.objects.base import JsonObject
from everloom.objects.batches import Endpoint
from everloom.requests import chat, completions, embeddings, image_edits, images, moderations
from everloom.work.inference import completions as asking_completions
from everloom.work.inference import images as asking_images
from everloom.work.inference.answers import read_whole
from everloom.work.inference.embeddings import embeddings as embedded
from everloom.work.inference.image_edits import as_form
from everloom.work.inference.moderations import moderations as moderated
from everloom.work.inference.stored_completions import ask_or_keep


class LineEndpoint(NamedTuple):
    """``answer`` takes the body of a line as it was written, and the base URL of links; it gives the answer's body.

    Errors: as the endpoint's.
    """

    capability: Capability
    answer: Callable[[Context, bytes, str], Awaitable[bytes]]
    default_model: str = ""
    """What a line asks that names none, where it may."""


async def _chat(ctx: Context, body: bytes, base: str) -> bytes:
    request, raw = chat.read_with_bytes(body)
    _refuse_stream(request)
    return await read_whole(ask_or_keep(ctx, request, raw))


async def _completion(ctx: Context, body: bytes, base: str) -> bytes:
    request, raw = completions.read_with_bytes(body)
    _refuse_stream(request)
    return await read_whole(asking_completions.ask(ctx, request, raw))


async def _embedding(ctx: Context, body: bytes, base: str) -> bytes:
    return await embedded(ctx, embeddings.read(body))


async def _moderation(ctx: Context, body: bytes, base: str) -> bytes:
    return await moderated(ctx, moderations.read(body))


async def _image(ctx: Context, body: bytes, base: str) -> bytes:
    request = images.read(body)
    _refuse_stream(request)
    way = asking_images.way_of(request["model"], request.get("response_format"))
    return await asking_images.finish(ctx, await asking_images.generate(ctx, request), way, base)


async def _image_edit(ctx: Context, body: bytes, base: str) -> bytes:
    async with temporary_folder() as folder:
        model, way, form = await _edit_as_form(ctx, body, folder)
        return await asking_images.finish(ctx, await asking_images.edit(ctx, model, form), way, base)


async def _edit_as_form(ctx: Context, body: bytes, folder: Path) -> tuple[str, asking_images.Way | None, Form]:
    """The model, how images are to come, and the form. What of the pictures is in memory goes before one is drawn."""
    model, request = image_edits.read(body)
    _refuse_stream({"stream": request.stream})
    way = asking_images.way_of(model, request.response_format)
    return model, way, await as_form(ctx, request, folder)


def _refuse_stream(request: JsonObject) -> None:
    if request.get("stream"):
        text = "Unsupported value: 'stream' must be false, since the answers of a batch are written to a file."
        raise BadRequest(text, param="stream", code="unsupported_value")


ENDPOINTS: Mapping[Endpoint, LineEndpoint] = {
    "/v1/chat/completions": LineEndpoint("chat", _chat),
    "/v1/completions": LineEndpoint("complete", _completion),
    "/v1/embeddings": LineEndpoint("embed", _embedding),
    "/v1/moderations": LineEndpoint("moderate", _moderation, moderations.DEFAULT),
    "/v1/images/generations": LineEndpoint("draw", _image, images.DALL_E_2),
    "/v1/images/edits": LineEndpoint("draw", _image_edit, image_edits.DEFAULT),
}
