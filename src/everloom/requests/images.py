"""Images: what the three requests may say (CreateImageRequest, CreateImageEditRequest, CreateImageVariationRequest).

Which values a parameter may have depends on the model's name, as in the reference: the DALL·E names keep to theirs,
names of GPT image models have what the platform added later, and of any other name its server knows best.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from everloom.kit.errors import BadRequest
from everloom.objects.base import JsonObject
from everloom.requests.binding import decode_body
from everloom.requests.validation import invalid, unknown, unsupported_value

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


def read(raw: bytes) -> JsonObject:
    """The body of a createImage request as a model is asked it: as it was sent but for nulls, and with a model in any
    case.

    Errors: the platform's 400.
    """
    model = check(decode_body(raw, NewImage))
    sent: JsonObject = msgspec.json.decode(raw)
    return {name: value for name, value in sent.items() if value is not None} | {"model": model}


def check_edit(form: NewImageEdit) -> str:
    """The model that is asked for an edit. Errors: the platform's 400."""
    model = check(form)
    if model == DALL_E_3:
        raise _only_dall_e_2(model)
    return model


def check_variation(form: NewImageVariation) -> str:
    """The model that is asked for a variation. Errors: the platform's 400."""
    model = check(form)
    if model == DALL_E_3 or is_gpt(model):
        raise _only_dall_e_2(model)
    return model


def is_gpt(model: str) -> bool:
    """Whether a name is one of the GPT image models, which answer in bytes where nothing else is asked for."""
    return _GPT.match(model) is not None


def check(asked: Drawing) -> str:
    """The model that is asked, once everything else fits its name. Errors: the platform's 400."""
    later = [name for name in LATER if getattr(asked, name, None) not in (None, False)]
    model = asked.model if asked.model is not None else "gpt-image-1" if later else DALL_E_2
    if model in SIZES and later:
        raise unknown(later[0])
    _check_size(asked.size, model)
    if isinstance(asked, Later):
        _check_prompt(asked.prompt, model)
        _check_quality(asked.quality, model)
    if isinstance(asked, NewImage) and asked.style is not None and (model == DALL_E_2 or is_gpt(model)):
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
