"""Forms that a model's server will read: their fields checked, their files laid on disk, none of it held in memory.

A file is laid down before anything is asked, since the model's name may come after it in the form, and since an
attempt that failed is made again from the beginning.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from everloom.api.http.binding import decode_query
from everloom.api.http.forms import NULL, plain_filename, refuse_too_long
from everloom.api.http.multipart import FIELD_BYTES, Part, form_parts
from everloom.api.http.routes import Request
from everloom.kit.errors import BadRequest
from everloom.kit.temporary_folders import make_folder, remove_folder, write_file
from everloom.models.base import Form, FormFile
from everloom.requests.file_sizes import at_most, too_large
from everloom.requests.validation import invalid, missing, unknown

T = TypeVar("T")

_BLOCK = 256 * 1024
"""What is gathered before the disk is asked."""

_MOST_FILES = 17
"""Sixteen images and a mask."""
_HELD_BYTES = 16 * 1024 * 1024
"""What the fields that are no files may have together: they are held in memory."""

_NAME = re.compile(r"(\w+)(?:\[\w{0,64}\])?", re.ASCII)
"""A field, or an item or a member of one. Names are handed on in headers."""

_OCTETS = "application/octet-stream"


async def read_form(
    call: Request, kind: type[T], files: Mapping[str, int], *, required: str, texts: Mapping[str, int] | None = None
) -> tuple[T, Form]:
    """The fields of a form as ``kind``, and the form as it came.

    ``files`` names the fields that are files, and how many bytes each may have; ``image`` allows ``image[]`` too. The
    one called ``required`` must be there and hold something. Several of a name share what one of each may have. The
    files lie on disk until the request has been answered. ``texts`` names the fields that may be longer than fields
    are, and their bytes. Errors: 400 in the platform's words, 413 for a file, or fields together, that are too large.
    """
    refuse_too_long(call, sum(files.values()), required)
    folder = await make_folder()
    call.at_end(partial(remove_folder, folder))
    fields: list[tuple[str, str]] = []
    laid: list[FormFile] = []
    held = 0
    known = {field.encode_name for field in msgspec.structs.fields(kind)}  # type: ignore[arg-type]  # T is a Struct
    async for part in form_parts(call.stream(), call.header(b"content-type")):
        name = part.name.removesuffix("[]")
        if name in files:
            if len(laid) >= _MOST_FILES:
                raise invalid(name, f"too many files. Expected at most {_MOST_FILES}.", "array_above_max_length")
            left = sum(files.values()) - sum(file.size for file in laid)
            laid.append(await _lay(part, folder / str(len(laid)), min(files[name], left)))
        elif (found := _NAME.fullmatch(part.name)) and found[1] in known:
            fields.append((part.name, await _text(part, (texts or {}).get(name, FIELD_BYTES))))
            held += len(fields[-1][1])
            if held > _HELD_BYTES:
                raise too_large(_HELD_BYTES, held, name)
        else:
            raise unknown(part.name[:256])
    if not any(file.field.removesuffix("[]") == required for file in laid):
        raise missing(required)
    given = _given(fields, kind)
    return decode_query(given, kind), Form(fields=given, files=tuple(laid))


def _given(fields: Sequence[tuple[str, str]], kind: type[Any]) -> tuple[tuple[str, str], ...]:
    """The fields without those said not to be given. Said twice it is no such word, but a value that is wrong."""
    optional = {field.encode_name for field in msgspec.structs.fields(kind) if not field.required}
    times = Counter(name for name, _ in fields)
    return tuple((name, text) for name, text in fields if text != NULL or name not in optional or times[name] > 1)


async def _text(part: Part, longest: int) -> str:
    if part.filename is not None:
        text = f"Invalid type for '{part.name}': expected a string, but got a file instead."
        raise BadRequest(text, param=part.name, code="invalid_type")
    return await part.text(longest)


async def _lay(part: Part, path: Path, limit: int) -> FormFile:
    if part.filename is None:
        text = f"Invalid type for '{part.name}': expected a file, but got a string instead."
        raise BadRequest(text, param=part.name, code="invalid_type")
    filename = plain_filename(part.filename, part.name)
    size = await write_file(path, _gathered(at_most(limit, part, part.name)))
    if size == 0:
        raise invalid(part.name, "the file is empty.", "empty_file")
    return FormFile(field=part.name, filename=filename, content_type=part.content_type or _OCTETS, path=path, size=size)


async def _gathered(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for block in blocks:
        held += block
        if len(held) >= _BLOCK:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
