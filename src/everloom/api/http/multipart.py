"""Forms with files in them (multipart/form-data, RFC 7578), read as they arrive: no part is ever held whole."""

import logging
import re
from collections import deque
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from everloom.api.http.disposition import disposition
from everloom.kit.errors import BadRequest
from everloom.requests.validation import invalid

FIELD_BYTES = 64 * 1024
"""The longest text of a field that is no file."""

MAX_PARTS = 1000

_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)

# The parser logs every fault of a form; they are the client's, who is told.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

_BROKEN = "Could not parse multipart form. (HINT: This likely means that your HTTP library does not send valid {what}.)"


class Part:
    """One field of a form. ``filename`` is what the client says; None for a field of text, as ``content_type`` may be.

    Iterating gives the content in blocks, once; what is left unread when the next part is asked for is passed over.
    """

    __slots__ = ("_form", "content_type", "filename", "name")

    def __init__(self, name: str, filename: str | None, content_type: str | None, form: "_Form") -> None:
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self._form = form

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (block := await self._form.block()) is not None:
            yield block

    async def text(self, longest: int = FIELD_BYTES) -> str:
        """The content of a field of text. Errors: 400 for one of more than ``longest`` bytes, or not UTF-8."""
        content = bytearray()
        async for block in self:
            content += block
            if len(content) > longest:
                text = f"string too long. Expected a string with maximum length {longest}."
                raise invalid(self.name, text, "string_above_max_length")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise invalid(self.name, "string is not valid UTF-8.", "invalid_value") from error


async def form_parts(stream: AsyncIterator[bytes], content_type: str | None) -> AsyncIterator[Part]:
    """The parts of a form, in order, while its bytes come in. Errors: 400 for what is no form.

    Whatever ``stream`` raises comes through, from here or from the part being read.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        shown = (content_type or "").partition(";")[0][:100]
        raise BadRequest(
            f"Invalid Content-Type header ({shown}), expected multipart/form-data. (HINT: If you're using curl, you "
            "can pass -F instead of -d)"
        )
    if not options.get(b"boundary"):
        raise BadRequest(_BROKEN.format(what="boundaries"))
    form = _Form(stream, options[b"boundary"])
    for _ in range(MAX_PARTS):
        part = await form.part()
        if part is None:
            return
        yield part
    raise BadRequest(f"Too many form fields. The limit is {MAX_PARTS}.")


class _Form:
    """Turns the parser's callbacks, which push, into parts and blocks that are pulled."""

    def __init__(self, stream: AsyncIterator[bytes], boundary: bytes) -> None:
        self._stream = stream
        self._found: deque[Part | bytes | None] = deque()
        """What the last bytes held: the beginning of a part, its blocks, None for its end."""
        self._header = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._inside = False
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": lambda: self._found.append(None),
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise BadRequest(_BROKEN.format(what="boundaries")) from error

    async def part(self) -> Part | None:
        """The next part, or None after the last."""
        while self._inside:
            await self.block()
        while not self._found:
            if self._ended:
                return None
            await self._feed()
        part = self._found.popleft()
        assert isinstance(part, Part)
        self._inside = True
        return part

    async def block(self) -> bytes | None:
        """The next block of the part that began last, or None at its end."""
        if not self._inside:
            return None
        while not self._found:
            await self._feed()
        block = self._found.popleft()
        assert not isinstance(block, Part)
        self._inside = block is not None
        return block

    async def _feed(self) -> None:
        if self._ended:
            raise BadRequest(_BROKEN.format(what="parts"))
        try:
            self._parser.write(await anext(self._stream))
        except StopAsyncIteration:
            raise BadRequest(_BROKEN.format(what="parts (the form breaks off)")) from None
        except FormParserError as error:
            raise BadRequest(_BROKEN.format(what="parts")) from error

    # --- what the parser calls ---

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        kind, options = disposition(_text(self._headers.get(b"content-disposition", b"")))
        if kind != "form-data" or "name" not in options:
            raise BadRequest(_BROKEN.format(what="Content-Disposition headers"))
        # Only what may stand in a header again is taken over, since a form is handed on to other servers.
        declared = _text(self._headers.get(b"content-type", b"")).partition(";")[0].strip()
        content_type = declared if _MEDIA_TYPE.fullmatch(declared) else None
        self._found.append(Part(options["name"], options.get("filename"), content_type, self))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        # A file of many line ends comes in crumbs: they are put together again as far as they lie together.
        if self._found and isinstance(last := self._found[-1], bytes) and len(last) < 1024:
            self._found[-1] = last + data[start:end]
        else:
            self._found.append(data[start:end])

    def _on_end(self) -> None:
        self._ended = True


def _text(header: bytes) -> str:
    """Names in headers are UTF-8 in practice; what is not becomes replacement characters."""
    return header.decode("utf-8", "replace")
