"""The sentences: read, written out, and parted into what is learnt from and what is measured on.

A file of ``sentences/`` holds blocks. A block begins with ``= labels`` and has lines of a language and a template in
it, ``{a|b}`` standing for any of its alternatives. The lines of a block in many languages say the same, so it is either
learnt from or measured on as a whole; in a file of single sentences (``single_*.txt``) each line is a block of its own.
"""

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

FOLDER = Path(__file__).parent / "sentences"
FREE = Path(__file__).parent / "free.txt"
"""Sentences that follow no template and are never learnt from, in the same form."""

LANGUAGES = ("en", "de", "es", "fr", "pt")
"""Those that are learnt from."""

UNSEEN_LANGUAGES = ("it", "nl", "ru", "zh", "ar")
"""Those that are only measured on. Learning from the last three made the heads worse and read them hardly better."""

LABELS = (
    *("harassment", "hate", "threat", "illicit", "weapon"),
    *("self-harm", "self-harm/intent", "self-harm/instructions"),
    *("sexual", "minor", "violence", "violence/graphic"),
)
"""What blocks are labelled with; ``-`` is none of them, ``?minor`` leaves it open whether a child is spoken of."""

LEARNT = 10
MEASURED = 2
"""Sentences written out of one template, at most: few where they are counted, for they are much alike."""

_MEASURED = 4
"""One block in so many is measured on, of each kind of block."""

_ALTERNATIVES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Block:
    """Templates of one meaning: (language, template) pairs."""

    name: str
    labels: frozenset[str]
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sentence:
    """One text and what is true of it."""

    text: str
    language: str
    labels: frozenset[str]
    block: str
    alike: int
    """How many sentences its template has given."""


def blocks(files: list[Path] | None = None) -> list[Block]:
    """Every block, in a fixed order. ``ValueError`` for a line that cannot be read."""
    found = []
    for file in files or sorted(FOLDER.glob("*.txt")):
        for number, part in enumerate(re.split(r"(?m)^= ", file.read_text(encoding="utf-8"))[1:]):
            head, *rest = part.strip().splitlines()
            labels = frozenset(head.split()) - {"-"}
            if not {label.lstrip("?") for label in labels} <= set(LABELS):
                raise ValueError(f"{file.name}: {head}: no such label")
            lines = tuple((line[:2], line[3:].strip()) for line in rest if line.strip())
            if any(language not in LANGUAGES + UNSEEN_LANGUAGES for language, _ in lines):
                raise ValueError(f"{file.name}: a line under {head!r} begins with no language")
            if file.stem.startswith("single"):
                found += [Block(f"{file.stem}-{number}-{place}", labels, (line,)) for place, line in enumerate(lines)]
            else:
                found.append(Block(f"{file.stem}-{number}", labels, lines))
    return found


def parted() -> tuple[list[Block], list[Block]]:
    """The blocks to learn from and those to measure on; of every kind there are some of both, chance says which."""
    kinds: dict[frozenset[str], list[Block]] = defaultdict(list)
    for block in blocks():
        kinds[block.labels].append(block)
    learnt: list[Block] = []
    measured: list[Block] = []
    for kind in kinds.values():
        kind.sort(key=lambda block: hashlib.sha256(block.lines[0][1].encode()).digest())
        count = max(1, round(len(kind) / _MEASURED)) if len(kind) > 1 else 0
        measured += kind[:count]
        learnt += kind[count:]
    return learnt, measured


def sentences(some: list[Block], languages: tuple[str, ...], most: int) -> list[Sentence]:
    """Blocks written out, in these languages, with up to ``most`` sentences a template."""
    lines = [(block, *line) for block in some for line in block.lines if line[0] in languages]
    return [
        Sentence(text, language, block.labels, block.name, len(texts))
        for block, language, template in lines
        for texts in [list(written_out(template, most))]
        for text in texts
    ]


def written_out(template: str, most: int) -> Iterator[str]:
    """A few of a template's sentences: each alternative is in one of them, if there are not too many."""
    parts = _ALTERNATIVES.split(template)
    groups = [part.split("|") for part in parts[1::2]]
    dice = random.Random(template)  # chance that is the same every time
    for group in groups:
        dice.shuffle(group)
    count = min(most, prod(map(len, groups)))
    seen: set[str] = set()
    for turn in range(4 * most):
        # Groups of one length must not turn in step, or some pairs would never meet.
        chosen = [group[(turn + turn // len(group) * place) % len(group)] for place, group in enumerate(groups)]
        text = "".join(part for pair in zip(parts[::2], [*chosen, ""], strict=True) for part in pair).strip()
        text = re.sub(r"\s+([,.])", r"\1", text)
        if text not in seen:
            seen.add(text)
            yield text
        if len(seen) == count:
            return
