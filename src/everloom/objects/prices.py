"""What use costs by a price, the operator's (``[[prices]]``) or another: each sum of the ledger as items of a bill."""

from collections.abc import Iterator, Mapping
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from everloom.objects.ledger import UsageKind

Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars for the models whose name fits ``model``, a pattern as in ``fnmatch``.

    Tokens are priced by the million (``cached_input`` left out: as ``input``; audio and pictures: as text, but for
    pictures that have a price as such), and ``characters`` of speech; ``image`` is a picture, ``minute`` one of sound
    that is transcribed, ``call`` a request, whatever it was for. ``batch`` is the share of it all that a batch pays.
    What is no model has a name of its own: ``file_search`` (``call``, and ``gigabyte_day`` of vector stores) and
    ``code_interpreter`` (``session``).
    """

    model: str
    input: Dollars = 0.0
    cached_input: Dollars | None = None
    output: Dollars = 0.0
    audio_input: Dollars | None = None
    audio_output: Dollars | None = None
    image_output: Dollars | None = None
    image: Dollars = 0.0
    minute: Dollars = 0.0
    characters: Dollars = 0.0
    batch: Annotated[float, Meta(ge=0, le=1)] = 1.0
    call: Dollars = 0.0
    gigabyte_day: Dollars = 0.0
    session: Dollars = 0.0


class LineItem(NamedTuple):
    """A line of a bill: its name, US dollars, and of what so many are billed (CostQuantityUnit; None: pieces)."""

    name: str
    dollars: float
    quantity: float
    unit: str | None


FILE_SEARCH, CODE_INTERPRETER = "file_search", "code_interpreter"

NOBODYS = Price(model="*")
"""Of what nobody names a price for."""

_MILLION = 1_000_000


def billed_name(kind: UsageKind, model: str) -> str:
    """The name that is looked up among the prices: the model's, or what stands for a tool."""
    return {"search": FILE_SEARCH, "storage": FILE_SEARCH, "session": CODE_INTERPRETER}.get(kind, model)


def bill(price: Price, kind: UsageKind, name: str, batch: bool, sums: Mapping[str, int]) -> list[LineItem]:
    """What the sums of one kind and name cost, item by item; those that cost nothing are there too, at 0."""
    share = price.batch if batch else 1.0
    items = _items(price, kind, sums)
    return [LineItem(f"{name}, {item}", dollars * share, count, unit) for item, count, dollars, unit in items]


def _items(price: Price, kind: UsageKind, sums: Mapping[str, int]) -> Iterator[tuple[str, float, float, str | None]]:
    """The name of each, how many of what there are, and what they cost."""
    requests = sums["requests"]
    if kind == "search":
        yield "calls", requests, requests * price.call, None
    elif kind == "storage":
        hours = sums["bytes"] / 2**30
        yield "storage", hours, hours / 24 * price.gigabyte_day, "gibibyte_hours"
    elif kind == "session":
        yield "sessions", requests, requests * price.session, None
    elif kind == "draw":
        yield "images", sums["images"], sums["images"] * price.image, "images"
    elif kind == "speak":
        yield "characters", sums["characters"], sums["characters"] / _MILLION * price.characters, "characters"
    elif kind == "transcribe":
        minutes = sums["milliseconds"] / 60_000
        yield "audio", minutes, minutes * price.minute, "duration_minutes"
    if price.call and kind not in ("search", "storage", "session"):
        yield "requests", requests, requests * price.call, None
    if sums["input_tokens"] or sums["output_tokens"]:
        written = drawn(price) if kind == "draw" else price.output
        for item, tokens, dollars in _tokens(price, written, sums):
            yield item, tokens, tokens * dollars / _MILLION, "tokens"


def drawn(price: Price) -> float:
    """What a million tokens of pictures cost: nothing by the price of texts, where pictures are paid by the piece."""
    return _or(price.image_output, 0.0 if price.image else price.output)


def _tokens(price: Price, written: float, sums: Mapping[str, int]) -> Iterator[tuple[str, int, float]]:
    """Each token once: heard, cached, or else plain ones."""
    heard = min(sums["input_audio_tokens"], sums["input_tokens"])
    spoken = min(sums["output_audio_tokens"], sums["output_tokens"])
    cached = min(sums["cached_tokens"], sums["input_tokens"] - heard)
    yield "input", sums["input_tokens"] - cached - heard, price.input
    if cached:
        yield "cached input", cached, _or(price.cached_input, price.input)
    if heard:
        yield "audio input", heard, _or(price.audio_input, price.input)
    if sums["output_tokens"]:
        yield "output", sums["output_tokens"] - spoken, written
    if spoken:
        yield "audio output", spoken, _or(price.audio_output, price.output)


def _or(dollars: float | None, other: float) -> float:
    return other if dollars is None else dollars
