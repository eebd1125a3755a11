"""Pictures that were sent: whether they are what the reference asks for, told before any model is asked."""

import msgspec

from everloom.kit.errors import BadRequest
from everloom.kit.png import BadPng, Png, TooLarge, read_png
from everloom.models.base import Form, FormFile

PNG_BYTES = 4 * 1024 * 1024
"""A picture for the DALL·E names is to have less."""

MASK_BYTES = PNG_BYTES
LATER_BYTES = 50 * 1024 * 1024
"""A picture for later models is to have less."""

_LATER_SIDE = 8192

NO_PNG = "Uploaded image must be a PNG and less than 4 MB."


def checked(form: Form, *, strict: bool, edits: bool) -> Form:
    """The form, its files' types told by their bytes. Errors: 400 in the platform's words where it has any.

    ``strict``: one PNG, square and less than 4 MB, with transparency where it is to be edited and no mask says where.
    Otherwise PNG, JPEG and WebP, which their model's server judges. A mask is held to the same in both.
    """
    pictures = [file for file in form.files if file.field.removesuffix("[]") == "image"]
    masks = [file for file in form.files if file.field.removesuffix("[]") == "mask"]
    if len(masks) > 1 or (strict and len(pictures) > 1):
        name = "mask" if len(masks) > 1 else "image"
        text = f"Invalid type for '{name}': expected a file, but got an array instead."
        raise BadRequest(text, param=name, code="invalid_type")
    types = {file.path: "image/png" for file in masks}
    found: list[Png | None] = []
    for picture in pictures:
        kind, png = _strictly(picture) if strict else _loosely(picture)
        types[picture.path] = kind
        found.append(png)
    if masks:
        _check_mask(masks[0], found[0])
    elif strict and edits and found[0] is not None and not found[0].transparent:
        text = f"Invalid input image - format must be in ['RGBA', 'LA'], got {found[0].mode}."
        raise BadRequest(text, param="image", code="invalid_image_format")
    files = tuple(msgspec.structs.replace(file, content_type=types[file.path]) for file in form.files)
    return Form(fields=form.fields, files=files)


def _strictly(file: FormFile) -> tuple[str, Png]:
    if file.size >= PNG_BYTES:
        raise BadRequest(NO_PNG, param=file.called)
    png = _read(file)
    if png.width != png.height:
        text = f"Invalid input image - image must be square, got {png.width}x{png.height}."
        raise BadRequest(text, param=file.called, code="invalid_image_format")
    return "image/png", png


def _loosely(file: FormFile) -> tuple[str, Png | None]:
    with file.path.open("rb") as opened:
        head = opened.read(12)
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", None
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return "image/webp", None
    if head.startswith(b"\x89PNG"):
        return "image/png", _read(file, _LATER_SIDE)
    text = f"Invalid file '{file.called}': Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'."
    raise BadRequest(text, param=file.called, code="unsupported_file_mimetype")


def _check_mask(mask: FormFile, picture: Png | None) -> None:
    if mask.size >= MASK_BYTES:
        raise BadRequest(NO_PNG, param=mask.param or "mask")
    png = _read(mask, _LATER_SIDE if picture is None else max(picture.width, picture.height))
    if picture is not None and (png.width, png.height) != (picture.width, picture.height):
        raise _bad_mask(mask, "mask size does not match image size")
    if not png.transparent:
        raise _bad_mask(mask, "mask image missing alpha channel")


def _bad_mask(mask: FormFile, why: str) -> BadRequest:
    return BadRequest(
        f"Invalid mask image format - {why}", param=mask.param or "mask", code="invalid_mask_image_format"
    )


def _read(file: FormFile, max_side: int | None = None) -> Png:
    data = file.path.read_bytes()
    try:
        return read_png(data) if max_side is None else read_png(data, max_side)
    except TooLarge as error:
        if file.field == "mask":
            raise _bad_mask(file, "mask size does not match image size") from error
        text = f"Invalid input image - image is too large to be drawn: {error}."
        raise BadRequest(text, param=file.called, code="invalid_image_format") from error
    except BadPng as error:
        raise BadRequest(f"{NO_PNG} (In this one something is wrong: {error}.)", param=file.called) from error
