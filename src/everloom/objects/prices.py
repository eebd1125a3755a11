"""What use costs, by the operator's settings (``[[prices]]``): each sum of the ledger as items of a bill."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from everloom.objects.ledger import UsageKind

Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars for the models whose name fits ``model``, a pattern as in ``fnmatch``.

    Tokens are priced by the million (``cached_input`` left out: as ``input``; audio: as text), and ``characters`` of
    speech; ``image`` is a picture, ``minute`` one of sound that is transcribed. ``batch`` is the share of it all that
    a batch pays. What is no model has a name of its own: ``file_search`` (``call``, and ``gigabyte_day`` of vector
    stores) and ``code_interpreter`` (``session``).
    """

    model: str
    input: Dollars = 0.0
    cached_input: Dollars | None = None
    output: Dollars = 0.0
    audio_input: Dollars | None = None
    audio_output: Dollars | None = None
    image: Dollars = 0.0
    minute: Dollars = 0.0
    characters: Dollars = 0.0
    batch: Annotated[float, Meta(ge=0, le=1)] = 1.0
    call: Dollars = 0.0
    gigabyte_day: Dollars = 0.0
    session: Dollars = 0.0


class LineItem(NamedTuple):
    """A line of a bill: its name, and US dollars."""

    name: str
    dollars: float


FILE_SEARCH, CODE_INTERPRETER = "file_search", "code_interpreter"

NOBODYS = Price(model="*")
"""Of what the settings name no price for."""

_MILLION = 1_000_000
_GIGABYTE_HOURS_A_DAY = 24 * 2**30


def price_of(prices: Sequence[Price], model: str) -> Price:
    """The first price whose pattern fits a model's name."""
    return next((price for price in prices if fnmatchcase(model, price.model)), NOBODYS)


def bill(prices: Sequence[Price], kind: UsageKind, model: str, batch: bool, sums: Mapping[str, int]) -> list[LineItem]:
    """What the sums of one kind and model cost, item by item; those that cost nothing are there too, at 0."""
    name = {"search": FILE_SEARCH, "storage": FILE_SEARCH, "session": CODE_INTERPRETER}.get(kind, model)
    price = price_of(prices, name)
    share = price.batch if batch else 1.0
    items = _items(price, kind, sums)
    return [LineItem(f"{name}, {item}", dollars * share) for item, dollars in items]


def _items(price: Price, kind: UsageKind, sums: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    if kind == "search":
        yield "calls", sums["requests"] * price.call
    elif kind == "storage":
        yield "storage", sums["bytes"] / _GIGABYTE_HOURS_A_DAY * price.gigabyte_day
    elif kind == "session":
        yield "sessions", sums["requests"] * price.session
    elif kind == "draw":
        yield "images", sums["images"] * price.image
    elif kind == "speak":
        yield "characters", sums["characters"] / _MILLION * price.characters
    elif kind == "transcribe":
        yield "audio", sums["milliseconds"] / 60_000 * price.minute
    if sums["input_tokens"] or sums["output_tokens"]:
        yield from ((item, tokens * dollars / _MILLION) for item, tokens, dollars in _tokens(price, sums))


def _tokens(price: Price, sums: Mapping[str, int]) -> Iterator[tuple[str, int, float]]:
    """Each token once: heard, cached, or else plain ones."""
    heard, spoken = sums["input_audio_tokens"], sums["output_audio_tokens"]
    cached = min(sums["cached_tokens"], max(0, sums["input_tokens"] - heard))
    yield "input", max(0, sums["input_tokens"] - cached - heard), price.input
    if cached:
        yield "cached input", cached, _or(price.cached_input, price.input)
    if heard:
        yield "audio input", heard, _or(price.audio_input, price.input)
    if sums["output_tokens"]:
        yield "output", max(0, sums["output_tokens"] - spoken), price.output
    if spoken:
        yield "audio output", spoken, _or(price.audio_output, price.output)


def _or(dollars: float | None, other: float) -> float:
    return other if dollars is None else dollars
