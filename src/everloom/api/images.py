"""The Images tag: pictures from words, from pictures with a part to be filled in, and from pictures alone."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, NamedTuple

from everloom.api.http.addresses import base_url
from everloom.api.http.front import with_model
from everloom.api.http.proxying import frames
from everloom.api.http.routes import EventStream, Request, Routes
from everloom.api.http.spool import read_form
from everloom.context import Context
from everloom.context.answers import ImageAnswer
from everloom.kit.temporary_folders import make_folder, remove_folder
from everloom.models.base import Form
from everloom.requests import image_edits
from everloom.requests.images import (
    SIZES,
    NewImageEdit,
    NewImageVariation,
    check_edit,
    check_variation,
    read,
)
from everloom.work.inference import images, uploaded_images
from everloom.work.inference.image_edits import as_form

routes = Routes(permission="model")


@routes.post("/images/generations")
async def create_image(ctx: Context, call: Request, body: bytes) -> bytes | EventStream:
    """createImage. A client that goes away stops the model."""
    request = read(body)
    way = images.way_of(request["model"], request.get("response_format"))
    asked = images.generate(ctx, request)
    return await _drawn(ctx, call, asked, way, stream=bool(request.get("stream")))


@routes.post("/images/edits")
async def create_image_edit(ctx: Context, call: Request) -> bytes | EventStream:
    """createImageEdit: a form with pictures in it, or JSON that refers to them."""
    edit = await (_referring_edit(ctx, call) if _is_json(call) else _sent_edit(call))
    asked = images.edit(ctx, edit.model, edit.form)
    return await _drawn(ctx, call, asked, edit.way, stream=edit.streams)


@routes.post("/images/variations")
async def create_image_variation(ctx: Context, call: Request) -> bytes | EventStream:
    """createImageVariation."""
    limits = {"image": uploaded_images.LATER_BYTES}
    request, form = await read_form(call, NewImageVariation, limits, required="image")
    name = check_variation(request)
    asked = images.vary(ctx, name, await _looked_at(form, name, edits=False))
    return await _drawn(ctx, call, asked, images.way_of(name, request.response_format))


def _is_json(call: Request) -> bool:
    kind = (call.header(b"content-type") or "").partition(";")[0].strip().lower()
    return kind == "application/json"


class _Edit(NamedTuple):
    model: str
    form: Form
    way: images.Way | None
    streams: bool


async def _sent_edit(call: Request) -> _Edit:
    limits = {"image": uploaded_images.LATER_BYTES, "mask": uploaded_images.MASK_BYTES}
    request, form = await read_form(call, NewImageEdit, limits, required="image")
    name = check_edit(request)
    form = await _looked_at(form, name, edits=True)
    return _Edit(name, form, images.way_of(name, request.response_format), bool(request.stream))


async def _referring_edit(ctx: Context, call: Request) -> _Edit:
    """The JSON is let go of before a model is asked: it may be all that a body may have."""
    name, request = image_edits.read(with_model(await call.read(ctx.ports.limits.body_bytes), call.deployment))
    folder = await make_folder()
    call.at_end(partial(remove_folder, folder))
    form = await call.unless_gone(as_form(ctx, request, folder))
    return _Edit(name, form, images.way_of(name, request.response_format), bool(request.stream))


async def _looked_at(form: Form, model: str, *, edits: bool) -> Form:
    """The form, its pictures found to be what they say. Looked at in a thread: it costs time, never much memory."""
    strict = model in SIZES
    return await asyncio.to_thread(uploaded_images.checked, form, strict=strict, edits=edits)


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
