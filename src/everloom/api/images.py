"""The Images tag: pictures from words, from pictures with a part to be filled in, and from pictures alone.

Which values a parameter may have depends on the model's name, as in the reference: the DALL·E names keep to theirs,
names of GPT image models have what the platform added later, and of any other name its server knows best.
"""

import asyncio
import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from everloom.api import uploaded_images
from everloom.api.http.paths import PREFIX
from everloom.api.http.proxying import frames
from everloom.api.http.routes import EventStream, Request, Routes
from everloom.api.http.spool import read_form
from everloom.api.http.validation import invalid, unknown, unsupported_value
from everloom.context import Context
from everloom.kit.errors import BadRequest
from everloom.models.base import Form
from everloom.work.inference import images

routes = Routes()

DALL_E_2, DALL_E_3 = "dall-e-2", "dall-e-3"

SIZES = {
    DALL_E_2: ("256x256", "512x512", "1024x1024"),
    DALL_E_3: ("1024x1024", "1792x1024", "1024x1792"),
}
_ANY_SIZE = re.compile(r"auto|[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")

PROMPT_CHARACTERS = {DALL_E_2: 1_000, DALL_E_3: 4_000}
_LONGEST_PROMPT = 32_000

LATER = (
    "background",
    "moderation",
    "output_format",
    "output_compression",
    "partial_images",
    "stream",
    "input_fidelity",
)
"""Parameters of the GPT image models."""

_GPT = re.compile(r"(?:.*/)?(?:chatgpt|gpt)-image")

Prompt = Annotated[str, Meta(min_length=1, max_length=_LONGEST_PROMPT)]
Count = Annotated[int, Meta(ge=1, le=10)]
Quality = Literal["standard", "hd", "low", "medium", "high", "auto"]


class Drawing(Struct, kw_only=True, forbid_unknown_fields=True):
    """What all three requests have in common."""

    model: str | None = None
    n: Count | None = None
    size: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    user: str | None = None


class Later(Drawing, kw_only=True, forbid_unknown_fields=True):
    """What creations and edits have since the GPT image models."""

    prompt: Prompt
    quality: Quality | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    stream: bool | None = None


class NewImage(Later, kw_only=True, forbid_unknown_fields=True):
    """CreateImageRequest, and what was added to it later."""

    style: Literal["vivid", "natural"] | None = None
    moderation: Literal["low", "auto"] | None = None


class NewImageEdit(Later, kw_only=True, forbid_unknown_fields=True):
    """CreateImageEditRequest but for its files, and what was added to it later."""

    input_fidelity: Literal["high", "low"] | None = None


class NewImageVariation(Drawing, kw_only=True, forbid_unknown_fields=True):
    """CreateImageVariationRequest but for its file."""


@routes.post("/images/generations")
async def create_image(ctx: Context, call: Request, body: NewImage) -> bytes | EventStream:
    """createImage. A client that goes away stops the model."""
    model = _check(body)
    send = images.creation(msgspec.json.decode(call.raw_body))
    return await _drawn(ctx, call, body, model, send)


@routes.post("/images/edits")
async def create_image_edit(ctx: Context, call: Request) -> bytes | EventStream:
    """createImageEdit."""
    limits = {"image": uploaded_images.LATER_BYTES, "mask": uploaded_images.MASK_BYTES}
    asked, form = await read_form(call, NewImageEdit, limits, required="image")
    model = _check(asked)
    if model == DALL_E_3:
        raise _only_dall_e_2(model)
    return await _drawn(ctx, call, asked, model, images.edit(await _looked_at(form, model, edits=True)))


@routes.post("/images/variations")
async def create_image_variation(ctx: Context, call: Request) -> bytes | EventStream:
    """createImageVariation."""
    asked, form = await read_form(call, NewImageVariation, {"image": uploaded_images.LATER_BYTES}, required="image")
    model = _check(asked)
    if model == DALL_E_3 or _GPT.match(model):
        raise _only_dall_e_2(model)
    return await _drawn(ctx, call, asked, model, images.variation(await _looked_at(form, model, edits=False)))


async def _looked_at(form: Form, model: str, *, edits: bool) -> Form:
    """The form, its pictures found to be what they say. Looked at in a thread: it costs time, never much memory."""
    strict = model in SIZES
    return await asyncio.to_thread(uploaded_images.checked, form, strict=strict, edits=edits)


async def _drawn(ctx: Context, call: Request, asked: Drawing, model: str, send: images.Send) -> bytes | EventStream:
    way: images.Way | None = asked.response_format or (None if _GPT.match(model) else "url")
    drawn = await call.unless_gone(images.ask(ctx, model, send))
    if drawn.content_type == "text/event-stream" and getattr(asked, "stream", False):
        return EventStream(frames(drawn), drawn.close)
    return await call.unless_gone(images.finish(ctx, drawn, way, base_url(ctx, call)))


# --- what a model's name allows ------------------------------------------------------------------------------------


def _check(asked: Drawing) -> str:
    """The model that is asked, once everything else fits its name. Errors: the platform's 400."""
    later = [name for name in LATER if getattr(asked, name, None) not in (None, False)]
    model = asked.model if asked.model is not None else "gpt-image-1" if later else DALL_E_2
    if model in SIZES and later:
        raise unknown(later[0])
    _check_size(asked.size, model)
    if isinstance(asked, Later):
        _check_prompt(asked.prompt, model)
        _check_quality(asked.quality, model)
    if isinstance(asked, NewImage) and asked.style is not None and (model == DALL_E_2 or _GPT.match(model)):
        text = "Unsupported parameter: 'style' is not supported with this model."
        raise BadRequest(text, param="style", code="unsupported_parameter")
    if asked.n is not None and asked.n > 1 and model == DALL_E_3:
        raise BadRequest("You must provide n=1 for this model.", param="n", code="invalid_n")
    return model


def _check_size(size: str | None, model: str) -> None:
    if size is None:
        return
    supported = SIZES.get(model)
    if supported is None:
        if not _ANY_SIZE.fullmatch(size):
            raise invalid("size", "expected WIDTHxHEIGHT in pixels, such as '1024x1024', or 'auto'.", "invalid_value")
    elif size not in supported:
        if any(size in sizes for sizes in SIZES.values()):
            raise BadRequest("The size is not supported by this model.", param="size", code="invalid_size")
        raise unsupported_value("size", size, supported)


def _check_prompt(prompt: str, model: str) -> None:
    longest = PROMPT_CHARACTERS.get(model, _LONGEST_PROMPT)
    if len(prompt) > longest:
        text = f"string too long. Expected a string with maximum length {longest}, but got a string with length "
        raise invalid("prompt", f"{text}{len(prompt)} instead.", "string_above_max_length")


def _check_quality(quality: str | None, model: str) -> None:
    supported: dict[str, tuple[Any, ...]] = {DALL_E_2: ("standard",), DALL_E_3: ("standard", "hd")}
    if quality is not None and quality not in supported.get(model, (quality,)):
        raise unsupported_value("quality", quality, supported[model])


def _only_dall_e_2(model: str) -> BadRequest:
    text = f"Invalid value: '{model[:128]}'. Value must be '{DALL_E_2}'."
    return BadRequest(text, param="model", code="invalid_value")


# --- where this server is ------------------------------------------------------------------------------------------

_HOST = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def base_url(ctx: Context, call: Request) -> str:
    """The base URL that the caller's own addresses begin with: as set, else as its request says.

    A ``Host`` that can be none is passed over for the address that was reached.
    """
    if ctx.ports.limits.public_url:
        return ctx.ports.limits.public_url
    host = call.header(b"host") or ""
    if not _HOST.fullmatch(host):
        name, port = call.server or ("localhost", None)
        name = f"[{name}]" if ":" in name else name
        host = name if port is None else f"{name}:{port}"
    scheme = (call.header(b"x-forwarded-proto") or "").partition(",")[0].strip().lower()
    return f"{scheme if scheme in ('http', 'https') else 'http'}://{host}{PREFIX}"
