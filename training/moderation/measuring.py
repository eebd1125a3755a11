"""What the heads find and what they flag by mistake, on sentences they did not learn from."""

import base64
from collections.abc import Callable, Sequence

import msgspec

from everloom.models.minilm.engine import MiniLMEngine
from everloom.models.minilm.moderation import MiniLMModeration
from everloom.objects.base import JsonObject
from everloom.objects.moderations import CATEGORIES, Moderation, ModerationResult
from training.moderation.sentences import (
    FREE,
    LANGUAGES,
    MEASURED,
    UNSEEN_LANGUAGES,
    Block,
    Sentence,
    blocks,
    sentences,
)

ALL = LANGUAGES + UNSEEN_LANGUAGES
_BOTH = {
    "hate/threatening": {"hate", "threat"},
    "harassment/threatening": {"harassment", "threat"},
    "illicit/violent": {"illicit", "weapon"},
    "sexual/minors": {"sexual", "minor"},
}
_AT_ONCE = 500

Judged = list[tuple[Sentence, ModerationResult]]


def flagged_rightly(sentence: Sentence, category: str) -> bool:
    """Whether a category is true of a sentence."""
    return _BOTH.get(category, {category}) <= sentence.labels


async def judge(engine: MiniLMEngine, some: Sequence[Sentence]) -> Judged:
    """What the model says, asked as any request asks it."""

    async def embed(body: JsonObject) -> bytes:
        made = await engine.embed(body["input"])
        data = [{"embedding": base64.b64encode(vector).decode()} for vector in made.vectors]
        return msgspec.json.encode({"data": data})

    model = MiniLMModeration(embed, "all-minilm-l6-v2")
    results: list[ModerationResult] = []
    for begin in range(0, len(some), _AT_ONCE):
        texts = [sentence.text for sentence in some[begin : begin + _AT_ONCE]]
        answer = await model.moderate({"model": "minilm-moderation", "input": texts})
        results += msgspec.json.decode(answer, type=Moderation).results
    return list(zip(some, results, strict=True))


async def report(engine: MiniLMEngine, measured: list[Block]) -> str:
    """The tables, in Markdown."""
    some = await judge(engine, test_set(measured))
    english = [row for row in some if row[0].language == "en"]
    learnt = [row for row in some if row[0].language in LANGUAGES[1:]]
    parts = [
        "By category, in English and in the other languages that were learnt from:",
        by_category(english, learnt),
        "By language, whether a sentence was flagged at all:",
        by_language(some),
        "English sentences with nothing to be found that were flagged:",
        by_innocence(english),
    ]
    return "\n\n".join(parts)


def test_set(measured: list[Block]) -> list[Sentence]:
    """The held-out blocks, and the sentences that were written to be measured on."""
    return sentences([*measured, *blocks([FREE])], ALL, MEASURED)


def by_category(english: Judged, others: Judged) -> str:
    """Precision and recall of each category in both."""
    lines = [
        "| category | English: positive | precision | recall | others: positive | precision | recall |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in CATEGORIES:
        cells = [*_cells(english, _flag(name), _true(name)), *_cells(others, _flag(name), _true(name))]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "| any | " + " | ".join(_any(english) + _any(others)) + " |"])


def by_language(some: Judged) -> str:
    """The same of flags at all, a line a language."""
    lines = [
        "| language | sentences | positive | precision | recall | flagged of the innocent |",
        "|---|---|---|---|---|---|",
    ]
    for language in ALL:
        rows = [row for row in some if row[0].language == language]
        innocent = [result for sentence, result in rows if not _harmful(sentence)]
        wrong = sum(result.flagged for result in innocent) / max(1, len(innocent))
        seen = "" if language in LANGUAGES else " (never seen)"
        lines.append(f"| {language}{seen} | {len(rows)} | " + " | ".join(_any(rows)) + f" | {wrong:.0%} |")
    return "\n".join(lines)


def by_innocence(english: Judged) -> str:
    """What is flagged by mistake: of plain prose, and of what was written to look like harm."""
    lines = ["| kind | sentences | flagged |", "|---|---|---|"]
    for kind, plain in (("plain prose and documentation", True), ("look-alikes and everyday talk", False)):
        rows = [
            result.flagged
            for sentence, result in english
            if not _harmful(sentence) and sentence.block.startswith("single_prose") == plain
        ]
        lines.append(f"| {kind} | {len(rows)} | {sum(rows) / len(rows):.1%} |")
    return "\n".join(lines)


def _flag(name: str) -> Callable[[ModerationResult], bool]:
    return lambda result: result.categories[name]


def _true(name: str) -> Callable[[Sentence], bool]:
    return lambda sentence: flagged_rightly(sentence, name)


def _harmful(sentence: Sentence) -> bool:
    return any(flagged_rightly(sentence, name) for name in CATEGORIES)


def _any(some: Judged) -> list[str]:
    return _cells(some, lambda result: result.flagged, _harmful)


def _cells(some: Judged, flag: Callable[[ModerationResult], bool], true: Callable[[Sentence], bool]) -> list[str]:
    """How many are positive, precision, recall."""
    positive = sum(true(sentence) for sentence, _ in some)
    flagged = sum(flag(result) for _, result in some)
    right = sum(flag(result) and true(sentence) for sentence, result in some)
    return [str(positive), f"{right / flagged:.2f}" if flagged else "-", f"{right / positive:.2f}" if positive else "-"]
