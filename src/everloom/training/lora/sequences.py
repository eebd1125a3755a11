"""Prepared examples as tokens, with the places that are learned. Runs in the child."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everloom.training.lora.tokens import Texts


@dataclass(frozen=True)
class TokenSequence:
    """``ids``: int32. ``spans``: from which token up to which (not included) is learned."""

    ids: Any
    spans: tuple[tuple[int, int], ...]

    @property
    def targets(self) -> int:
        """How many tokens are learned."""
        return sum(end - start for start, end in self.spans)


Example = tuple[TokenSequence, ...]
"""One sequence; for dpo the preferred one and the other."""


@dataclass
class Examples:
    """``truncated``: how many were longer than the bound; ``skipped``: how many had nothing left to learn then."""

    items: list[Example]
    truncated: int = 0
    skipped: int = 0

    def lengths(self) -> list[int]:
        """Tokens of each, of the longer sequence."""
        return [max(len(sequence.ids) for sequence in example) for example in self.items]

    def tokens(self) -> int:
        """Tokens of one pass."""
        return sum(len(sequence.ids) for example in self.items for sequence in example)


def read_examples(path: Path, texts: Texts, longest: int) -> Examples:
    """Every line that ``examples.py`` prepared. Errors: ``ValueError`` with the line's number."""
    found = Examples([])
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                made = list(_made(json.loads(line), texts))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            for example in made:
                _take(found, example, longest)
    return found


def _take(found: Examples, example: Example, longest: int) -> None:
    found.truncated += any(len(sequence.ids) > longest for sequence in example)
    cut = tuple(_cut(sequence, longest) for sequence in example)
    if all(sequence.targets for sequence in cut):
        found.items.append(cut)
    else:
        found.skipped += 1


def _cut(sequence: TokenSequence, longest: int) -> TokenSequence:
    spans = tuple((start, min(end, longest)) for start, end in sequence.spans if start < longest)
    return TokenSequence(sequence.ids[:longest], spans)


def _made(line: dict[str, Any], texts: Texts) -> Iterator[Example]:
    if "completion" in line:
        yield (_completion(line["prompt"], line["completion"], texts),)
    elif "preferred" in line:
        sides = [line["turns"] + line["preferred"], line["turns"] + line["other"]]
        learned = range(len(line["turns"]), len(max(sides, key=len)))
        pair = [_conversation(turns, line["tools"], learned, texts) for turns in sides]
        yield tuple(sequence for side in pair for sequence in side[-1:])
    else:
        for sequence in _conversation(line["turns"], line["tools"], set(line["learned"]), texts):
            yield (sequence,)


def _completion(prompt: str, completion: str, texts: Texts) -> TokenSequence:
    before = texts.encode(prompt, begins=True) or [texts.end]
    behind = [*texts.encode(completion, begins=False), texts.end]
    ids = np.array([*before, *behind], dtype=np.int32)
    return TokenSequence(ids, ((len(before), len(ids)),))


def _conversation(turns: list[Any], tools: Any, learned: Collection[int], texts: Texts) -> list[TokenSequence]:
    """The conversation in one sequence; in one for each answer that is learned where the template writes earlier turns
    otherwise than it wrote them when they were asked for.
    """
    whole = texts.render(turns, tools, answer=False)
    places: list[tuple[int, int]] = []
    sequences: list[TokenSequence] = []
    fits = True
    for index, turn in enumerate(turns):
        if index not in learned or turn["role"] != "assistant":
            continue
        before = texts.render(turns[:index], tools, answer=True)
        behind = texts.render(turns[: index + 1], tools, answer=False)
        fits = fits and whole.startswith(behind) and behind.startswith(before)
        places.append((len(before), len(behind)))
        said = behind[len(before) :] if behind.startswith(before) else turn["content"]
        sequences.append(_sequence(before + said, [(len(before), len(before) + len(said))], texts))
    return [_sequence(whole, places, texts)] if fits or not places else sequences


def _sequence(text: str, places: list[tuple[int, int]], texts: Texts) -> TokenSequence:
    """Cut where answers begin, as they are when the model writes them behind a prompt that was read before."""
    ids: list[int] = []
    spans = []
    at = 0
    for start, end in places:
        ids += texts.encode(text[at:start], begins=not at)
        answer = texts.encode(text[start:end], begins=False)
        last = next((index for index in reversed(range(len(answer))) if answer[index] in texts.ends), None)
        if last is None:
            answer, last = [*answer, texts.end], len(answer)
        spans.append((len(ids), len(ids) + last + 1))
        ids += answer
        at = end
    return TokenSequence(np.array(ids, dtype=np.int32), tuple(spans))
