"""Moderations: what a request may say (CreateModerationRequest)."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from everloom.kit.errors import BadRequest
from everloom.objects.base import JsonObject
from everloom.requests.binding import decode_body

MOST_INPUTS = 2048
"""Strings or parts in one request; as many as createEmbedding takes."""

DEFAULT = "omni-moderation-latest"
"""The model of a request that names none, by the reference."""


class ModerationTextPart(Struct, tag="text"):
    text: str


class ModerationImageUrl(Struct):
    url: str


class ModerationImagePart(Struct, tag="image_url"):
    image_url: ModerationImageUrl


class NewModeration(Struct, kw_only=True, forbid_unknown_fields=True):
    """CreateModerationRequest: a string and a list of parts have one result, a list of strings one for each."""

    input: (
        str
        | Annotated[list[str | ModerationTextPart | ModerationImagePart], Meta(min_length=1, max_length=MOST_INPUTS)]
    )
    model: str = DEFAULT


def read(raw: bytes) -> JsonObject:
    """The body of a createModeration request as a model is asked it: its model, and its input as it was sent.

    Errors: the platform's 400.
    """
    body = decode_body(raw, NewModeration)
    check(body)
    return {"model": body.model, "input": msgspec.json.decode(raw)["input"]}


_IMAGE_URLS = ("http://", "https://", "data:image/")


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
        if isinstance(item, ModerationImagePart) and not item.image_url.url.startswith(
            ("http://", "https://", "data:image/")
        ):
            raise BadRequest(
                f"Invalid 'input[{index}].image_url.url': expected an http(s) URL or a data URL of an image.",
                param=f"input[{index}].image_url.url",
                code="invalid_value",
            )
