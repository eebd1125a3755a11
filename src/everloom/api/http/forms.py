"""What forms with a file in them have in common: how large the file may be, and what it may be called."""

from everloom.api.http.routes import Request
from everloom.kit.errors import BadRequest
from everloom.requests.file_sizes import too_large
from everloom.requests.validation import invalid

FORM_BYTES = 1024 * 1024
"""What a form may have around its file."""

NULL = "null"
"""What clients write into a form for a field that is not given (openai-node says so in as many words)."""

FILENAME_LENGTH = 512
"""Characters of a file's name: in a header of a download they become twelve times as many bytes at worst."""


def refuse_too_long(call: Request, limit: int, param: str) -> None:
    """Say no before the bytes come, where the client said how many there will be. Errors: 413."""
    declared = call.header(b"content-length") or ""
    if declared.isdigit() and len(declared) < 20 and int(declared) > limit + FORM_BYTES:
        raise too_large(limit, int(declared), param)


def plain_filename(name: str, param: str) -> str:
    """A file's name without the folders some clients send along, and without characters that nobody sees.

    Errors: 400 for a name that is too long, or of which nothing is left.
    """
    plain = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(character for character in plain if character.isprintable())
    if len(plain) > FILENAME_LENGTH:
        text = (
            f"string too long. Expected a string with maximum length {FILENAME_LENGTH}, but got a string with length "
            f"{len(plain)} instead."
        )
        raise invalid(param, text, "string_above_max_length")
    if plain in {"", ".", ".."}:
        raise invalid(param, "this is no name of a file.", "invalid_value")
    return plain


def check_format(purpose: str, filename: str) -> None:
    """Ask that a file of this purpose may be called so. Errors: 400."""
    if purpose == "batch" and not filename.endswith(".jsonl"):
        raise BadRequest("Invalid file format for Batch API. Must be .jsonl")
