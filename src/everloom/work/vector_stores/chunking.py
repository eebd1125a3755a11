"""A file's text in chunks, and a chunk in pieces that the embedding model can read: by tokens, at natural borders.

Tokens are estimated from the text alone, so that the same file gives the same chunks whatever model makes the vectors
and nothing has to be downloaded. How near the estimate comes to real tokenizers: ``docs/decisions/extraction.md``.
"""

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cache

CHUNK_TOKENS = 800
OVERLAP_TOKENS = 400
"""The platform's default strategy."""

WINDOW_TOKENS = 240
"""What is read at once for one vector: all-MiniLM-L6-v2 was trained on 256 tokens, two of them its own marks."""

_ANY, _WORD, _LINE, _SENTENCE, _PARAGRAPH = range(5)
_REACH = ((_PARAGRAPH, 4), (_SENTENCE, 6), (_LINE, 6), (_WORD, 10))
"""What to end a piece at, the best first, and how far back from its limit to look for one: a part of its size."""

_ENDS = frozenset(".!?…。！？")
_WIDE_ENDS = frozenset("。！？")
_CLOSERS = frozenset("\"'”’»)]*_")

_LATIN = "A-Za-z\u00aa-\u024f\u1e00-\u1eff"
_SMALL = "a-z\u00df-\u00ff"
_IDEOGRAPHS = "\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LAST_EUROPEAN = "\u058f"
"""Greek, Cyrillic and Armenian come before it: tokenizers know pairs of their letters."""

_HANGUL = "\uac00-\ud7a3"


def chunk(text: str, max_tokens: int = CHUNK_TOKENS, overlap: int = OVERLAP_TOKENS) -> list[str]:
    """The text in chunks of at most ``max_tokens``, each beginning with the last ``overlap`` tokens of the one before.

    Every chunk is a slice of the text; laid over each other they are the whole text, but for chunks of white space
    alone, which are left out. Takes a second for some megabytes: call it from a thread.
    ``ValueError`` unless 0 <= overlap < max_tokens.
    """
    return [text[begin:end] for begin, end in spans(text, max_tokens, overlap) if not text[begin:end].isspace()]


def spans(text: str, max_tokens: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Where the chunks begin and end. Ends at the border that is the best near the limit: of a paragraph, a sentence, a
    line, a word; begins where the overlap says, to the word.
    """
    if not 0 <= overlap < max_tokens:
        raise ValueError("chunks must overlap by less than their size")
    tokens = _Tokens(text)
    first = end = 0
    while end < tokens.count:
        while (limit := tokens.reach(first, max_tokens)) <= end:
            first += 1  # a long word after the last chunk leaves room for less of it
        if limit == tokens.count:
            end = limit
        else:  # behind what was covered before, and so far that the next chunk begins behind this one
            end = tokens.border(limit, max_tokens, max(end, tokens.reach(first, overlap)))
        yield tokens.begins(first), tokens.begins(end)
        first = tokens.back(end, overlap)


def windows(text: str, max_tokens: int = WINDOW_TOKENS) -> list[str]:
    """A chunk in as few pieces as the embedding model needs, about equally long, that are the chunk when joined.

    Never empty for a text that is not; the pieces are estimated, so a rare one may be longer for the model than this
    says (``embedding.embed`` copes).
    """
    tokens = _Tokens(text)
    pieces: list[str] = []
    first = 0
    while first < tokens.count:
        left = tokens.cost(first, tokens.count)
        share = -(-left // -(-left // max_tokens)) if left else 1
        size = min(max_tokens, share + share // 8)
        limit = tokens.reach(first, size)
        if left <= max_tokens:
            limit = tokens.count
        end = limit if limit == tokens.count else tokens.border(limit, size, first)
        pieces.append(text[tokens.begins(first) : tokens.begins(end)])
        first = end
    return _joined(pieces)


def count(text: str) -> int:
    """About how many tokens a text has."""
    tokens = _Tokens(text)
    return tokens.cost(0, tokens.count)


def _joined(pieces: list[str]) -> list[str]:
    """White space alone goes with its neighbour: it has no meaning to make a vector of."""
    kept: list[str] = []
    for piece in pieces:
        if kept and (piece.isspace() or kept[-1].isspace()):
            kept[-1] += piece
        else:
            kept.append(piece)
    return kept


class _Tokens:
    """A text cut into words and signs, each with the white space behind it: what they cost, and what ends with them."""

    def __init__(self, text: str) -> None:
        self._ends = array("Q")
        self._costs = array("Q", [0])
        """Summed up: at i what the first i words cost."""
        self._levels = bytearray()
        total = 0
        for found in _pattern().finditer(text):
            kind = found.lastindex or 0
            core, end = found.end(kind), found.end()
            space = text[core:end] if kind else found[0]
            total += _cost(kind, core - found.start(), text[found.start()]) + _space_cost(space)
            self._ends.append(end)
            self._costs.append(total)
            self._levels.append(_level(text, core - 1, kind, space))
        self.count = len(self._ends)

    def begins(self, word: int) -> int:
        """Where a word begins in the text; the text's end for the word after the last."""
        return self._ends[word - 1] if word else 0

    def cost(self, first: int, end: int) -> int:
        return self._costs[end] - self._costs[first]

    def reach(self, first: int, size: int) -> int:
        """The end of the words from ``first`` on that cost no more than ``size``: one word at least."""
        return max(first + 1, bisect_right(self._costs, self._costs[first] + size) - 1)

    def back(self, end: int, size: int) -> int:
        """The first of the last words before ``end`` that cost no more than ``size``."""
        return bisect_left(self._costs, self._costs[end] - size)

    def border(self, limit: int, size: int, after: int) -> int:
        """The best end for what must end at ``limit`` and is of ``size`` tokens then; behind ``after``."""
        for level, part in _REACH:
            floor = max(after + 1, self.back(limit, size // part))
            found = self._levels.rfind(level, floor - 1, limit)
            if found >= 0:
                return found + 1
        return limit


def _cost(kind: int, length: int, first: str) -> int:
    """The tokens of a word or sign: measured, see the head of this file."""
    if kind == _LATIN_KIND:
        return max(1, length // 4)
    if kind == _HANGUL_KIND:
        return 2
    if kind == _LETTERS_KIND:
        return (length + 1) // 2 if first < _LAST_EUROPEAN else length
    return 1 + length // 4 if kind == _SIGN_KIND else int(kind > 0)


def _space_cost(space: str) -> int:
    return 0 if len(space) < 2 else 1 + len(space) // 16


def _level(text: str, last: int, kind: int, space: str) -> int:
    """What ends with a word whose last character is at ``last`` and that ``space`` follows."""
    sign = text[last]
    if sign in _CLOSERS and last:
        sign = text[last - 1]
    if not space:
        return _SENTENCE if sign in _WIDE_ENDS else _WORD if kind == _IDEOGRAPH_KIND else _ANY
    if "\n" in space and (space.count("\n") > 1 or "\f" in space):
        return _PARAGRAPH
    if sign in _ENDS:
        return _SENTENCE
    return _LINE if "\n" in space else _WORD


_LATIN_KIND, _DIGITS_KIND, _IDEOGRAPH_KIND, _HANGUL_KIND, _LETTERS_KIND, _SIGN_KIND = range(1, 7)


@cache
def _pattern() -> re.Pattern[str]:
    """Words and signs. What belongs to the character before it (accents, joiners) never begins one."""
    joined = _marks()
    marks = f"[{joined}]{{0,16}}"
    return re.compile(
        f"(?:([A-Z]{{2,8}}(?![{_SMALL}])|[{_LATIN}][{_SMALL}]{{0,15}}{marks})"
        rf"|(\d{{1,3}}{marks})"
        f"|([{_IDEOGRAPHS}]{marks})"
        f"|([{_HANGUL}]{marks})"
        rf"|((?:[^\W\d_{_LATIN}{_IDEOGRAPHS}{_HANGUL}]{marks}){{1,8}})"
        rf"|((\S)\7{{0,7}}(?:{marks}(?:\u200d\S{marks}){{0,8}})))"
        r"(?:\s{0,64}\n|[^\S\n]{0,64})"  # a line's indentation belongs to what it begins
        r"|\s{1,64}"
    )


def _marks() -> str:
    """The characters that combine with the one before, as the inside of a character class."""
    planes = (range(0x300, 0x10000), range(0x1F3FB, 0x1F400), range(0xE0100, 0xE01F0))
    combining = (n for plane in planes for n in plane if n >= 0x1F3FB or unicodedata.category(chr(n))[0] == "M")
    ranges: list[list[int]] = []
    for number in combining:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges)
