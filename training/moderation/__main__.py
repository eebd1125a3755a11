"""Train the heads of ``minilm-moderation``, measure them, write them: ``python -m training.moderation [--check]``.

Prints what ``docs/moderation.md`` shows. Needs the weights of the embedding model, which are fetched if need be, and a
minute or two on two cores. Every run gives the same heads but for the last digits, which the processor decides.
``--check`` measures the heads that are there and writes nothing.
"""

import argparse
import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from everloom.models.files.weights import MINILM, Weights
from everloom.models.minilm.engine import MiniLMEngine
from everloom.models.minilm.moderation import HEADS, CategoryHead, Heads
from everloom.objects.moderations import CATEGORIES
from training.moderation.learning import FOLDS, PENALTIES, Floats, best_threshold, fit, unseen
from training.moderation.measuring import report
from training.moderation.sentences import LABELS, LANGUAGES, LEARNT, Sentence, parted, sentences

PRODUCTS = {
    "hate/threatening": ("hate", "threat"),
    "harassment/threatening": ("harassment", "threat"),
    "illicit/violent": ("illicit", "weapon"),
    "sexual/minors": ("sexual", "minor"),
}
"""Categories that are two things at once: nothing is learnt from sentences that are both."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.moderation", description=__doc__)
    parser.add_argument("--weights", type=Path, help="folder of the default models' weights")
    parser.add_argument("--check", action="store_true", help="measure what is there, write nothing")
    options = parser.parse_args()
    asyncio.run(_run(Weights(options.weights or _default_folder()), check=options.check))


async def _run(weights: Weights, *, check: bool) -> None:
    engine = MiniLMEngine(*weights.fetch(MINILM))
    try:
        learnt, measured = parted()
        if not check:
            rows = sentences(learnt, LANGUAGES, LEARNT)
            heads = train(rows, await vectors(engine, rows))
            HEADS.write_bytes(msgspec.json.format(msgspec.json.encode(heads), indent=1) + b"\n")
            print(f"Learnt from {len(rows)} sentences of {len(learnt)} blocks; {len(measured)} blocks were held out.\n")
        print(await report(engine, measured))
    finally:
        await engine.close()


async def vectors(engine: MiniLMEngine, some: list[Sentence]) -> Floats:
    """The sentences' vectors, one a row."""
    made = await engine.embed([sentence.text for sentence in some])
    return np.frombuffer(b"".join(made.vectors), "<f4").reshape(len(some), -1).astype(float)


def train(some: list[Sentence], rows: Floats) -> Heads:
    """A head a label. Penalties and thresholds are chosen by what heads say of blocks that they did not see."""
    names = sorted({sentence.block for sentence in some})
    # Blocks of one file stand together, so that going round deals every kind to every fold.
    fold_of = {name: place % FOLDS for place, name in enumerate(names)}
    folds = np.array([fold_of[sentence.block] for sentence in some])
    weight = np.array([1 / sentence.alike for sentence in some])
    heads: dict[str, CategoryHead] = {}
    guesses: dict[str, Floats] = {}
    for label in LABELS:
        open_rows = np.array([f"?{label}" in sentence.labels for sentence in some])
        truth = np.array([label in sentence.labels for sentence in some], float)
        known = ~open_rows
        tried = unseen(rows[known], truth[known], weight[known], folds[known])
        penalty = max(PENALTIES, key=lambda penalty: best_threshold(tried[penalty], truth[known], weight[known])[1])
        guesses[label] = np.zeros(len(some))
        guesses[label][known] = tried[penalty]
        fitted = fit(rows[known], truth[known], weight[known], penalty)
        print(f"{label}: penalty {penalty:g}", file=sys.stderr)
        packed = base64.b64encode(fitted.weights.astype("<f4").tobytes()).decode()
        heads[label] = CategoryHead(bias=round(fitted.bias, 6), weights=packed)
    return Heads(heads=heads, products=PRODUCTS, thresholds=_thresholds(some, guesses, weight))


def _thresholds(some: list[Sentence], guesses: dict[str, Floats], weight: Floats) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in CATEGORIES:
        parts = PRODUCTS.get(name, (name,))
        guess = np.prod([guesses[part] for part in parts], axis=0)
        truth = np.array([set(parts) <= sentence.labels for sentence in some], float)
        if truth.any():
            found[name] = round(best_threshold(guess, truth, weight)[0], 6)
        else:  # No sentence is both: where each of the two is as likely as not.
            found[name] = round(
                float(np.prod([best_threshold(guesses[part], _truth(some, part), weight)[0] for part in parts])), 6
            )
    return found


def _truth(some: list[Sentence], label: str) -> Floats:
    return np.array([label in sentence.labels for sentence in some], float)


def _default_folder() -> Path:
    from everloom.config import load

    folder: Any = load().weights
    return Path(folder)


if __name__ == "__main__":
    main()
