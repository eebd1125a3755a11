"""The Images tag: pictures from words, from pictures with a part to be filled in, and from pictures alone."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from everloom.api import uploaded_images
from everloom.api.http.addresses import base_url
from everloom.api.http.proxying import frames
from everloom.api.http.routes import EventStream, Request, Routes
from everloom.api.http.spool import read_form
from everloom.context import Context
from everloom.context.answers import ImageAnswer
from everloom.models.base import Form
from everloom.objects.base import JsonObject
from everloom.requests.images import (
    SIZES,
    NewImageEdit,
    NewImageVariation,
    check_edit,
    check_variation,
    is_gpt,
    read,
)
from everloom.work.inference import images

routes = Routes(permission="model")


@routes.post("/images/generations")
async def create_image(ctx: Context, call: Request, body: bytes) -> bytes | EventStream:
    """createImage. A client that goes away stops the model."""
    request = read(body)
    way = _way(request["model"], request.get("response_format"))
    asked = _generated(ctx, request)
    return await _drawn(ctx, call, asked, way, stream=bool(request.get("stream")))


@routes.post("/images/edits")
async def create_image_edit(ctx: Context, call: Request) -> bytes | EventStream:
    """createImageEdit."""
    limits = {"image": uploaded_images.LATER_BYTES, "mask": uploaded_images.MASK_BYTES}
    request, form = await read_form(call, NewImageEdit, limits, required="image")
    name = check_edit(request)
    asked = _edited(ctx, name, await _looked_at(form, name, edits=True))
    return await _drawn(ctx, call, asked, _way(name, request.response_format), stream=bool(request.stream))


@routes.post("/images/variations")
async def create_image_variation(ctx: Context, call: Request) -> bytes | EventStream:
    """createImageVariation."""
    limits = {"image": uploaded_images.LATER_BYTES}
    request, form = await read_form(call, NewImageVariation, limits, required="image")
    name = check_variation(request)
    asked = _varied(ctx, name, await _looked_at(form, name, edits=False))
    return await _drawn(ctx, call, asked, _way(name, request.response_format))


async def _looked_at(form: Form, model: str, *, edits: bool) -> Form:
    """The form, its pictures found to be what they say. Looked at in a thread: it costs time, never much memory."""
    strict = model in SIZES
    return await asyncio.to_thread(uploaded_images.checked, form, strict=strict, edits=edits)


def _way(model: str, asked: images.Way | None) -> images.Way | None:
    """How images are to come; None: as the model gives them."""
    return asked or (None if is_gpt(model) else "url")


async def _generated(ctx: Context, request: JsonObject) -> ImageAnswer:
    async with ctx.ask("draw", request["model"]) as model:
        return await model.generate(request)


async def _edited(ctx: Context, name: str, form: Form) -> ImageAnswer:
    async with ctx.ask("draw", name) as model:
        return await model.edit(form)


async def _varied(ctx: Context, name: str, form: Form) -> ImageAnswer:
    async with ctx.ask("draw", name) as model:
        return await model.vary(form)


async def _drawn(
    ctx: Context,
    call: Request,
    asked: Coroutine[Any, Any, ImageAnswer],
    way: images.Way | None,
    *,
    stream: bool = False,
) -> bytes | EventStream:
    answer = await call.unless_gone(asked)
    if answer.content_type == "text/event-stream" and stream:
        return EventStream(frames(answer), answer.close)
    return await call.unless_gone(images.finish(ctx, answer, way, base_url(ctx, call)))
