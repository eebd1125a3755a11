"""What the words of a query are worth, the same for every adapter.

A word counts by how rare it is in the store (inverse document frequency). Words that stand in most
chunks say nothing and cost most: in FTS5 0.6 ms became 216 ms with them, so they are left out.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping

_WORD = re.compile(r"[^\W_]+")

_LONGEST = 128
"""Characters of a word that count; PostgreSQL holds none longer than 2 kB."""

MAX_TERMS = 64
"""Different words of a query that are looked at; a query may be a whole message."""

ENOUGH = 4_000
"""How many chunks the words that are looked for may stand in altogether, the rarest words first."""


def terms(text: str) -> list[str]:
    """The different words of a text, up to ``MAX_TERMS``."""
    return list(dict.fromkeys(split(text)))[:MAX_TERMS]


def weigh(frequencies: Mapping[str, int], chunks: int) -> tuple[dict[str, float], dict[str, float]]:
    """What each term is worth in a store of ``chunks``, and which of them are worth looking for.

    ``frequencies``: in how many chunks each stands (counted to little more than ``ENOUGH``). A term that
    stands nowhere is not looked for; it may be a slip or an idle word, so it is worth half of the rarest.
    """
    common = chunks / 2 if any(0 < count <= chunks / 2 for count in frequencies.values()) else chunks
    worth = {term: _rarity(count, chunks) for term, count in frequencies.items() if count <= common}
    chosen: dict[str, float] = {}
    held = 0
    for term in sorted(worth, key=worth.__getitem__, reverse=True):
        if not frequencies[term]:
            continue
        held += frequencies[term]
        if chosen and held > ENOUGH:
            break
        chosen[term] = worth[term]
    return worth, chosen


def share(worth: Mapping[str, float]) -> Callable[[str], float]:
    """A function that says how much of a query's worth (0..1) a text holds."""
    whole = sum(worth.values())

    def measure(text: str) -> float:
        held = set(split(text))
        return sum(value for term, value in worth.items() if term in held) / whole if whole else 0.0

    return measure


def clean(text: str, *, nul: bool = True) -> str:
    """The text as a database can hold it: lone surrogates replaced, and where ``nul`` is not allowed, NULs."""
    if not nul:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def split(text: str) -> list[str]:
    """The words of a text without case and accents, in order: what FTS5's ``unicode61`` makes of it."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(character for character in decomposed if not unicodedata.combining(character))
    return [word[:_LONGEST] for word in _WORD.findall(text.lower())]


def _rarity(count: int, chunks: int) -> float:
    if not count:
        return _rarity(1, chunks) / 2
    return math.log(1 + (chunks - count + 0.5) / (count + 0.5))
