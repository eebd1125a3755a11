"""Edits of images that come as JSON and refer to their pictures (EditImageBodyJsonParam of the newest reference)."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from everloom.kit.errors import BadRequest
from everloom.requests.binding import decode_body
from everloom.requests.images import SIZES, NewImageEdit, check
from everloom.requests.validation import invalid

DEFAULT = "gpt-image-1.5"
"""The model of a request that names none, by the reference."""

MOST_IMAGES = 16

_URL_CHARACTERS = 20_971_520
"""Of a data URL, as in the reference: fifteen megabytes of picture."""

_ID_CHARACTERS = 256
_HEAD_CHARACTERS = 256
"""What may stand in a data URL before its data."""

_DATA_URL = re.compile(r"data:[\w.+-]*(?:/[\w.+-]+)?(?:;[\w.+-]+=[^,;]*)*;base64,", re.ASCII | re.IGNORECASE)


class ImageRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ImageRefParam: one of both. An address of another server is none that this one fetches from."""

    image_url: Annotated[str, Meta(max_length=_URL_CHARACTERS)] | None = None
    file_id: Annotated[str, Meta(max_length=_ID_CHARACTERS)] | None = None


class ReferringImageEdit(NewImageEdit, kw_only=True, forbid_unknown_fields=True):
    """EditImageBodyJsonParam, and ``response_format`` as in forms, since other models than the platform's know it."""

    images: Annotated[list[ImageRef], Meta(min_length=1, max_length=MOST_IMAGES)]
    mask: ImageRef | None = None
    moderation: Literal["low", "auto"] | None = None


class GivenImage(NamedTuple):
    """A picture as a request refers to it: what errors call it, the form's field it is, and one of the two others.

    ``start`` is where the base64 of a data URL begins.
    """

    param: str
    field: str
    file_id: str | None
    url: str
    start: int


def read(raw: bytes) -> tuple[str, ReferringImageEdit]:
    """The model that is asked for an edit, and the request. Errors: the platform's 400."""
    request = decode_body(raw, ReferringImageEdit)
    model = DEFAULT if request.model is None else request.model
    if model in SIZES:
        text = f"Invalid value: '{model}'. JSON edits support GPT image models only; DALL-E edits require multipart."
        raise BadRequest(text, param="model", code="invalid_value")
    request.model = model
    check(request)
    list(given(request))
    return model, request


def given(request: ReferringImageEdit) -> Iterator[GivenImage]:
    """The pictures of a request, the mask behind the others. Errors: 400 for one that cannot be meant."""
    field = "image" if len(request.images) == 1 else "image[]"
    for index, image in enumerate(request.images):
        yield _given(image, field, f"images[{index}]")
    if request.mask is not None:
        yield _given(request.mask, "mask", "mask")


def _given(image: ImageRef, field: str, path: str) -> GivenImage:
    if image.image_url is not None and image.file_id is not None:
        raise invalid(path, "'image_url' and 'file_id' exclude each other. Provide exactly one.", "invalid_value")
    if image.file_id is not None:
        return GivenImage(f"{path}.file_id", field, image.file_id, "", 0)
    if image.image_url is None:
        text = f"Missing required parameter: '{path}.image_url' or '{path}.file_id'. Provide exactly one."
        raise BadRequest(text, param=path, code="missing_required_parameter")
    param, url = f"{path}.image_url", image.image_url
    return GivenImage(param, field, None, url, _start(url, param))


def _start(url: str, param: str) -> int:
    """Where the data of a data URL begins. Errors: 400 for any other URL."""
    if url[:8].lower().startswith(("http://", "https://")):
        text = (
            "this server fetches nothing from other addresses. Send the image as a base64-encoded data URL, or upload "
            "it and give its file_id."
        )
        raise invalid(param, text, "invalid_image_url")
    if (found := _DATA_URL.match(url, 0, _HEAD_CHARACTERS)) is None:
        text = "expected a base64-encoded data URL, such as 'data:image/png;base64,iVBORw0KGgo...'."
        raise invalid(param, text, "invalid_value")
    return found.end()


def fields(request: ReferringImageEdit) -> tuple[tuple[str, str], ...]:
    """What a request says beside its pictures, as the fields of a form."""
    said = ((name, getattr(request, name)) for name in request.__struct_fields__ if name not in ("images", "mask"))
    return tuple((name, _text(value)) for name, value in said if value is not None)


def _text(value: str | int | bool) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
