"""Embeddings: ``POST /embeddings`` (createEmbedding)."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from everloom.api.http.routes import Request, Routes
from everloom.context import Context
from everloom.kit.errors import BadRequest
from everloom.work.inference import embeddings

routes = Routes()

MOST_INPUTS = 2048
"""Texts, or lists of tokens, in one request; also the tokens of a list that is the only input."""

Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class NewEmbedding(Struct, kw_only=True, forbid_unknown_fields=True):
    """CreateEmbeddingRequest. ``input`` is a text or a list of them, the tokens of a text or a list of such lists."""

    input: str | Annotated[list[str | Token | list[Token]], Meta(max_length=MOST_INPUTS)]
    model: str
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    user: str | None = None


@routes.post("/embeddings")
async def create_embedding(ctx: Context, call: Request, body: NewEmbedding) -> bytes:
    """createEmbedding. A client that goes away stops the model."""
    check(body)
    request = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not None}
    return await call.unless_gone(embeddings.embeddings(ctx.models, request))


def check(body: NewEmbedding) -> None:
    """What the schema cannot say: no input is empty, and texts and tokens do not mix."""
    if not body.input:
        raise _empty("input")
    if isinstance(body.input, str):
        return
    kind = type(body.input[0])
    for index, item in enumerate(body.input):
        here = f"input[{index}]"
        if type(item) is not kind:
            text = f"Invalid type for '{here}': expected {_NAMES[kind]}, but got {_NAMES[type(item)]} instead."
            raise BadRequest(text, param=here, code="invalid_type")
        if item in ("", []):
            raise _empty(here)


_NAMES = {str: "a string", int: "an integer", list: "an array of integers"}


def _empty(path: str) -> BadRequest:
    """What the platform says, and which one it is."""
    return BadRequest(
        "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference. "
        f"('{path}' is empty.)",
        param="input",
    )
