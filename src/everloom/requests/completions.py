"""Legacy completions: what a request may say (CreateCompletionRequest), and what its parameters ask of each other."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from everloom.kit.errors import BadRequest
from everloom.objects.base import JsonObject
from everloom.requests.binding import read_body, said_once

MOST_COMPLETIONS = 2048
"""Texts that one request may have written: prompts times ``n`` or ``best_of``. The platform names no number."""

_MOST_ITEMS = 1 << 20

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[TokenId], Meta(min_length=1, max_length=_MOST_ITEMS)]
Penalty = Annotated[float, Meta(ge=-2, le=2)] | None


class CompletionStreamOptions(Struct):
    include_usage: bool | None = None


class NewCompletion(Struct, kw_only=True, forbid_unknown_fields=True):
    """CreateCompletionRequest."""

    model: str
    prompt: str | Annotated[list[str | TokenId | Tokens], Meta(min_length=1, max_length=_MOST_ITEMS)] | None
    best_of: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    frequency_penalty: Penalty = None
    logit_bias: dict[str, Annotated[int, Meta(ge=-100, le=100)]] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    presence_penalty: Penalty = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | Annotated[list[str], Meta(min_length=1, max_length=4)] | None = None
    stream: bool | None = None
    stream_options: CompletionStreamOptions | None = None
    suffix: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    user: str | None = None


def read(raw: bytes) -> JsonObject:
    """The body of a createCompletion request as a model is asked it, every member as it was sent.

    Errors: the platform's 400.
    """
    return read_with_bytes(raw)[0]


def read_with_bytes(raw: bytes) -> tuple[JsonObject, bytes]:
    """As ``read``, and the bytes that say the same: those that came, but for what ``read_body`` leaves out."""
    request, raw = read_body(raw, NewCompletion)
    check(request)
    body: JsonObject = msgspec.json.decode(raw)
    return body, said_once(raw, body, _TELLING)


_TELLING = (b'"model"', b'"prompt"', b'"n"', b'"best_of"', b'"max_tokens"', b'"stream"', b'"stream_options"', b'"echo"')
"""What decides whether a request may be made, and what it may cost."""


def check(body: NewCompletion) -> None:
    """What a parameter asks of the others, in the platform's words."""
    prompts = _count_prompts(body.prompt)
    n = body.n or 1
    each = body.best_of or n  # 0, which the reference allows, asks for no more than there will be
    if each != n:
        if each < n:
            raise BadRequest(
                "You requested that the server return more choices than it will generate (HINT: you must set 'n' "
                f"(currently {n}) to be at most 'best_of' (currently {each}), or omit either parameter if you don't "
                "specifically want to use them.)",
                param="best_of",
            )
        if body.stream:
            raise BadRequest("Results cannot be streamed when 'best_of' is greater than 'n'.", param="best_of")
    if prompts * each > MOST_COMPLETIONS:
        raise BadRequest(
            f"Invalid 'prompt': too many completions. Expected at most {MOST_COMPLETIONS} in one request, but got "
            f"{prompts} prompts with {each} completions each instead.",
            param="prompt",
            code="array_above_max_length",
        )
    if body.echo and body.suffix:
        raise BadRequest(
            "Setting 'echo' and 'suffix' at the same time is not supported.",
            param="suffix",
            code="invalid_parameter_combination",
        )
    if body.stream_options is not None and not body.stream:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise BadRequest(text, param="stream_options", code="invalid_value")
    for token in body.logit_bias or ():
        if not (token.isascii() and token.isdigit()):
            raise BadRequest(
                f"Invalid key in 'logit_bias': {token[:64]}. You should only be submitting non-negative integers.",
                param="logit_bias",
                code="invalid_value",
            )


def _count_prompts(prompt: str | list[str | int | list[int]] | None) -> int:
    """How many prompts there are. A list holds texts, tokens or lists of tokens, never two of these."""
    if prompt is None or isinstance(prompt, str):
        return 1
    kind = type(prompt[0])
    for index, item in enumerate(prompt):
        if type(item) is not kind:
            raise BadRequest(
                f"Invalid type for 'prompt[{index}]': expected {_KINDS[kind]}, but got {_KINDS[type(item)]} instead.",
                param=f"prompt[{index}]",
                code="invalid_type",
            )
    return 1 if kind is int else len(prompt)


_KINDS: dict[type, str] = {str: "a string", int: "an integer", list: "an array of integers"}
