"""How a training is laid out: its numbers, the order of its examples, its rate at each step, and what fits in memory.

Nothing but arithmetic, the same for the same seed on every machine. The rules of ``auto``: ``docs/fine-tuning.md``.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everloom.training.lora.gguf_model import ModelShape

RANK = 8
ALPHA = 16

RATES = {"supervised": 4e-4, "dpo": 5e-5}
"""The learning rate at a multiplier of 1 for a model of a thousand numbers a token; it goes with the root of its width:
small models stand, and need, larger steps.
"""
BETA = 0.1
_FEW, _MANY = 100, 25_000
_PASSES = 3
_MOST_PASSES = 25
_BATCH_SHARE = 0.002
_LARGEST_BATCH = 64
_WARM_UP, _LONGEST_WARM_UP = 0.1, 100
_LAST_RATE = 0.1
_BUCKET = 16
"""Batches whose examples are sorted by length together."""
_PADDED = 1.15
"""Times the tokens of a micro-batch that it may have with its padding."""

LARGEST_MICRO_BATCH = {"cpu": 4096, "cuda": 1 << 15}
"""Tokens beyond which a device gains nothing from more at once."""

HEAD_ROWS = 256
"""Tokens whose probabilities over the whole vocabulary are in memory at a time."""

_PROGRAM = 600 << 20
"""What Python, torch and what it computes with take."""


@dataclass(frozen=True)
class Numbers:
    """The hyperparameters, all chosen."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    beta: float


def choose(
    examples: int, epochs: int | None, batch: int | None, multiplier: float | None, beta: float | None
) -> Numbers:
    """Numbers for what is None (``auto``): as many passes as make a hundred examples of few ones, three of the usual,
    fewer of very many; batches of a five-hundredth of the examples.
    """
    if epochs is None:
        epochs = _PASSES
        if examples * _PASSES < _FEW:
            epochs = min(_MOST_PASSES, -(-_FEW // examples))
        elif examples * _PASSES > _MANY:
            epochs = max(1, _MANY // examples)
    if batch is None:
        batch = min(_LARGEST_BATCH, max(1, round(examples * _BATCH_SHARE)))
    return Numbers(
        n_epochs=epochs,
        batch_size=min(batch, examples),
        learning_rate_multiplier=1.0 if multiplier is None else multiplier,
        beta=BETA if beta is None else beta,
    )


def rate(step: int, total: int, method: str, multiplier: float, width: int) -> float:
    """The learning rate of a step, counted from 0: rising for a tenth of them, then down a cosine to a tenth."""
    peak = RATES[method] * multiplier * math.sqrt(1024 / width)
    rising = min(_LONGEST_WARM_UP, math.ceil(total * _WARM_UP))
    if step < rising:
        return peak * (step + 1) / rising
    along = (step - rising) / max(1, total - rising)
    return peak * (_LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * along)))


def batches(lengths: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """The examples of one pass, by number, in batches of examples of about one length."""
    chance = random.Random(f"{seed} {epoch}")
    order = list(range(len(lengths)))
    chance.shuffle(order)
    made: list[list[int]] = []
    for start in range(0, len(order), size * _BUCKET):
        bucket = sorted(order[start : start + size * _BUCKET], key=lambda index: lengths[index])
        made += [bucket[at : at + size] for at in range(0, len(bucket), size)]
    chance.shuffle(made)
    return made


def micro_batches(batch: Sequence[int], lengths: Mapping[int, int], most: int) -> list[list[int]]:
    """A batch in parts that are computed at once: at most ``most`` tokens, padding counted, and little of that."""
    parts: list[list[int]] = []
    real = 0
    for index in sorted(batch, key=lambda index: (-lengths[index], index)):
        if parts:
            padded = (len(parts[-1]) + 1) * lengths[parts[-1][0]]
            if padded <= most and padded <= _PADDED * (real + lengths[index]):
                parts[-1].append(index)
                real += lengths[index]
                continue
        parts.append([index])
        real = lengths[index]
    return parts


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes: ``fixed`` whatever is computed, ``a_token`` for each token of a micro-batch, ``a_token_sparing`` where the
    layers are computed a second time on the way back instead of kept.
    """

    fixed: int
    a_token: int
    a_token_sparing: int

    def of(self, tokens: int, *, sparing: bool = False) -> int:
        """With so many tokens at once."""
        return self.fixed + tokens * (self.a_token_sparing if sparing else self.a_token)

    def tokens_in(self, limit: int, *, sparing: bool = False) -> int:
        """How many tokens at once fit in so many bytes."""
        return max(0, (limit - self.fixed) // (self.a_token_sparing if sparing else self.a_token))


def memory_need(shape: ModelShape, number_bytes: int) -> MemoryNeed:
    """What training takes: weights, an adapter with its gradient and the optimizer's two averages, what is kept of a
    token, and the probabilities of some. ``number_bytes``: 4 on processors, 2 on CUDA.
    """
    adapter = shape.lora_parameters(RANK) * 4 * 4
    largest = shape.vocabulary * shape.width * 4 * 2  # the embedding, while it is being read
    head = HEAD_ROWS * shape.vocabulary * 4 * 3
    fixed = _PROGRAM + shape.parameters * number_bytes + adapter + max(largest, head)
    kept = shape.kept_a_token() * number_bytes
    return MemoryNeed(fixed, kept, kept // shape.layers + shape.layers * shape.width * number_bytes + shape.width * 8)
