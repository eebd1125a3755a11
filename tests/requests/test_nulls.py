"""Null for what need not be given is "not given": in every body that an operation takes, at any depth."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec.inspect as mi
import pytest
from msgspec import UNSET, Struct

from everloom.api.v1 import DIALECT
from everloom.app.http import ROUTES
from everloom.objects.base import JsonObject, encode
from everloom.requests import chat, completions, embeddings, images, moderations, speech
from everloom.requests.binding import decode_body, read_body

MODEL_BODIES = (
    chat.NewChatCompletion,
    completions.NewCompletion,
    embeddings.NewEmbedding,
    images.NewImage,
    moderations.NewModeration,
    speech.NewSpeech,
)
"""The bodies of the operations that read them from their bytes."""

BODIES: list[type[Struct]] = sorted(
    {
        *(route.body for route in (*ROUTES, *DIALECT.routes) if route.body not in (None, bytes)),
        *(form for form, _ in DIALECT.bodies.values()),
        *MODEL_BODIES,
    },
    key=lambda form: form.__name__,
)


def choices(info: mi.Type) -> tuple[mi.Type, ...]:
    return info.types if isinstance(info, mi.UnionType) else (info,)


def example(info: mi.Type) -> Any:
    """Something small that the type takes."""
    for choice in choices(info):
        if isinstance(choice, mi.StructType):
            return object_of(choice)
        if isinstance(choice, mi.ListType):
            return [example(choice.item_type)] * (choice.min_length or 1)
        if isinstance(choice, mi.LiteralType):
            return choice.values[0]
        if isinstance(choice, mi.StrType):
            texts = ("d41d8cd98f00b204e9800998ecf8427e", "me@example.org")
            return next((text for text in texts if choice.pattern and re.search(choice.pattern, text)), "text")
        if isinstance(choice, mi.IntType | mi.FloatType):
            return choice.ge or 0
        if isinstance(choice, mi.BoolType):
            return True
    return {}


def object_of(struct: mi.StructType) -> JsonObject:
    """The object with what it must have."""
    members = {field.encode_name: example(field.type) for field in struct.fields if field.required}
    return members if struct.tag_field is None else {struct.tag_field: struct.tag, **members}


def with_nulls(info: mi.Type, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Of each optional member at any depth: where it stands, an example with null there, and the same without it."""
    for choice in choices(info):
        if isinstance(choice, mi.ListType):
            for where, given, without in with_nulls(choice.item_type, f"{place}[]"):
                yield where, [given] * (choice.min_length or 1), [without] * (choice.min_length or 1)
        elif isinstance(choice, mi.StructType):
            base = object_of(choice)
            tag = "" if choice.tag is None else f"<{choice.tag}>"
            for field in choice.fields:
                name = field.encode_name
                if not field.required:
                    yield f"{place}{tag}.{name}", {**base, name: None}, base
                for where, given, without in with_nulls(field.type, f"{place}{tag}.{name}"):
                    yield where, {**base, name: given}, {**base, name: without}


MEANINGS = {"name", "description", "instructions", "metadata", "temperature", "top_p", "response_format"} | {
    *("tool_resources", "expires_after", "strict", "reasoning_effort")
}
"""Where null says something of its own: of a modification (take it away, or back to the default), of a function."""


@pytest.mark.parametrize("form", BODIES, ids=lambda form: form.__name__)
def test_null_is_not_given(form: type[Struct]) -> None:
    found = 0
    for where, given, without in with_nulls(mi.type_info(form)):
        bound, plain = decode_body(encode(given), form), decode_body(encode(without), form)
        found += 1
        if bound != plain:
            name = where.rpartition(".")[2]
            assert name in MEANINGS or form is chat.NewChatCompletion, where
            assert (getattr(bound, name, None), getattr(plain, name, UNSET)) == (None, UNSET), where
    assert found or not any(not field.required for field in mi.type_info(form).fields)  # type: ignore[attr-defined]  # Structs alone


def test_what_is_passed_on_is_what_came_but_for_such_nulls() -> None:
    hello = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    sent = encode({**hello, "seed": None, "user": None})
    assert read_body(sent, chat.NewChatCompletion)[1] is sent
    tool = {"type": "function", "function": {"name": "f", "strict": None, "parameters": None}}
    _, passed = read_body(encode({**hello, "tools": [tool]}), chat.NewChatCompletion)
    assert passed == encode({**hello, "tools": [{"type": "function", "function": {"name": "f", "strict": None}}]})


def test_null_in_a_request_to_a_model() -> None:
    said = {"model": "m", "input": "a", "voice": "alloy"}
    assert speech.read(encode({**said, "speed": None, "instructions": None})) == said
    assert moderations.read(encode({"input": "a", "model": None}))["model"] == moderations.DEFAULT
    assert images.read(encode({"prompt": "a", "quality": None})) == {"prompt": "a", "model": "dall-e-2"}
