"""Moderations: ``POST /moderations`` (createModeration)."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from everloom.api.http.routes import Request, Routes
from everloom.context import Context
from everloom.kit.errors import BadRequest
from everloom.work.inference import moderations

routes = Routes()

MOST_INPUTS = 2048
"""Strings or parts in one request; as many as createEmbedding takes."""

DEFAULT = "omni-moderation-latest"
"""The model of a request that names none, by the reference."""


class TextPart(Struct, tag="text"):
    text: str


class ImageUrl(Struct):
    url: str


class ImagePart(Struct, tag="image_url"):
    image_url: ImageUrl


class NewModeration(Struct, kw_only=True, forbid_unknown_fields=True):
    """CreateModerationRequest: a string and a list of parts have one result, a list of strings one for each."""

    input: str | Annotated[list[str | TextPart | ImagePart], Meta(min_length=1, max_length=MOST_INPUTS)]
    model: str = DEFAULT


@routes.post("/moderations")
async def create_moderation(ctx: Context, call: Request, body: NewModeration) -> bytes:
    """createModeration. A client that goes away stops the model."""
    check(body)
    request = {"model": body.model, "input": msgspec.json.decode(call.raw_body)["input"]}
    return await call.unless_gone(moderations.moderations(ctx.models, request))


def check(body: NewModeration) -> None:
    """What the schema cannot say: strings and parts do not mix, and images are where they can be read."""
    if isinstance(body.input, str):
        return
    strings = isinstance(body.input[0], str)
    for index, item in enumerate(body.input):
        if isinstance(item, str) != strings:
            wanted, got = ("a string", "an object") if strings else ("an object", "a string")
            text = f"Invalid type for 'input[{index}]': expected {wanted}, but got {got} instead."
            raise BadRequest(text, param=f"input[{index}]", code="invalid_type")
        if isinstance(item, ImagePart) and not item.image_url.url.startswith(("http://", "https://", "data:image/")):
            raise BadRequest(
                f"Invalid 'input[{index}].image_url.url': expected an http(s) URL or a data URL of an image.",
                param=f"input[{index}].image_url.url",
                code="invalid_value",
            )
