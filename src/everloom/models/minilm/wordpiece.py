"""WordPiece as the uncased BERT models use it: lower case, no accents, words and signs apart, then known pieces.

Follows what a ``tokenizer.json`` with BertNormalizer, BertPreTokenizer and WordPiece describes, but for two things:
nothing is cut at 128 tokens and nothing padded (that file says so), and marks such as ``[SEP]`` that a text spells out
are text, not marks.
"""

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

_LONGEST_WORD = 100
_REMEMBERED = 50_000

_CHINESE = (
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F)),
)

_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs"})


class WordPiece:
    """A vocabulary's tokens of texts. May be used by several threads at once."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._vocabulary = vocabulary
        self._begin, self._end = vocabulary["[CLS]"], vocabulary["[SEP]"]
        self._unknown = vocabulary["[UNK]"]
        self._known: dict[str, tuple[int, ...]] = {}

    def tokens(self, text: str) -> list[int]:
        """The text's tokens between the marks of begin and end."""
        tokens = [self._begin]
        for word in words(text):
            tokens += self._known.get(word) or self._remember(word)
        tokens.append(self._end)
        return tokens

    def framed(self, tokens: Sequence[int]) -> list[int]:
        """Tokens between the marks, unless they have them already."""
        if tokens[0] == self._begin and tokens[-1] == self._end:
            return list(tokens)
        return [self._begin, *tokens, self._end]

    def _remember(self, word: str) -> tuple[int, ...]:
        pieces = tuple(self._pieces(word))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[word] = pieces
        return pieces

    def _pieces(self, word: str) -> list[int]:
        """The longest pieces from the left; a word that has a part of no piece is unknown as a whole."""
        if len(word) > _LONGEST_WORD:
            return [self._unknown]
        pieces: list[int] = []
        start = 0
        while start < len(word):
            lead = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = self._vocabulary.get(lead + word[start:end])
                if piece is not None:
                    pieces.append(piece)
                    start = end
                    break
            else:
                return [self._unknown]
        return pieces


def words(text: str) -> list[str]:
    """The text's words and signs, without accents, in lower case."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", text.translate(_clean))
    return text.translate(_apart).split()


class _Table(dict[int, str], ABC):
    """A table for ``str.translate`` that works out what it does not have yet."""

    def __missing__(self, number: int) -> str:
        shown = self[number] = self._shown(chr(number))
        return shown

    @abstractmethod
    def _shown(self, sign: str) -> str: ...


class _Clean(_Table):
    """What goes before letters are taken apart: characters nobody sees; Chinese ones stand alone."""

    def _shown(self, sign: str) -> str:
        if sign == "\ufffd" or _unseen(sign):
            return ""
        if sign.isspace():
            return " "
        return f" {sign} " if any(low <= ord(sign) <= high for low, high in _CHINESE) else sign


class _Apart(_Table):
    """What goes afterwards: accents; signs stand alone; the rest in lower case, letter by letter."""

    def _shown(self, sign: str) -> str:
        category = unicodedata.category(sign)
        if category == "Mn" or _unseen(sign):
            return ""
        if sign.isspace():
            return " "
        is_sign = category[0] == "P" or (sign.isascii() and not sign.isalnum())
        return f" {sign} " if is_sign else sign.lower()


def _unseen(sign: str) -> bool:
    return sign not in "\t\n\r" and unicodedata.category(sign) in _UNSEEN


_clean = _Clean()
_apart = _Apart()
