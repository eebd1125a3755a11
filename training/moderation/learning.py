"""Logistic regression in plain numpy: how a head is fitted, and how its threshold is chosen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]

PENALTIES = (1000.0, 300.0, 100.0, 30.0)
"""Strengths of the L2 penalty that are tried."""

FOLDS = 4
_STEPS = 8
_CLOSE = 3e-3
_SCALE = 20.0
"""Vectors of unit length in 384 dimensions have small numbers; these are learnt from on a scale of about one."""


@dataclass(frozen=True)
class Fitted:
    """One logistic regression."""

    weights: Floats
    bias: float

    def probabilities(self, vectors: Floats) -> Floats:
        """Of vectors, one a row."""
        return sigmoid(vectors @ self.weights + self.bias)


def sigmoid(logits: Floats) -> Floats:
    """Probabilities behind logits."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))


def fit(vectors: Floats, truth: Floats, weight: Floats, penalty: float, start: "Fitted | None" = None) -> Fitted:
    """By Newton's method, from ``start``. ``weight``: how much each row counts.

    The rarer class weighs more, by the square root of how much rarer it is.
    """
    rows = np.hstack([vectors * _SCALE, np.ones((len(vectors), 1))]).astype(np.float32)
    positive = max(float(truth @ weight / weight.sum()), 1e-6)
    importance = weight * np.where(truth > 0, np.sqrt((1 - positive) / positive), 1.0)
    ridge = np.full(rows.shape[1], penalty)
    ridge[-1] = 1e-6
    weights = np.zeros(rows.shape[1]) if start is None else np.append(start.weights / _SCALE, start.bias)
    for _ in range(_STEPS):
        guess = sigmoid(rows @ weights)
        slope = rows.T @ (importance * (guess - truth)) + ridge * weights
        bent = np.sqrt(importance * np.maximum(guess * (1 - guess), 1e-6)).astype(np.float32)[:, None] * rows
        step = np.linalg.solve((bent.T @ bent).astype(float) + np.diag(ridge), slope)
        weights -= step
        if np.abs(step).max() < _CLOSE:
            break
    return Fitted(weights[:-1] * _SCALE, float(weights[-1]))


def unseen(vectors: Floats, truth: Floats, weight: Floats, folds: Floats) -> dict[float, Floats]:
    """For each penalty each row's probability, by a head that was fitted without the row's fold."""
    found = {penalty: np.zeros(len(truth)) for penalty in PENALTIES}
    for fold in range(FOLDS):
        out = folds == fold
        head = None
        for penalty in PENALTIES:
            head = fit(vectors[~out], truth[~out], weight[~out], penalty, head)
            found[penalty][out] = head.probabilities(vectors[out])
    return found


def best_threshold(probabilities: Floats, truth: Floats, weight: Floats) -> tuple[float, float]:
    """The threshold with the greatest F0.5 (a false alarm weighs twice what a miss does), half way to the next lower
    probability; and that F0.5.
    """
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum((truth * weight)[order])
    score = 1.25 * hits / (np.cumsum(weight[order]) + 0.25 * (truth @ weight))
    place = int(np.argmax(score))
    ranked = probabilities[order]
    following = ranked[place + 1] if place + 1 < len(ranked) else 0.0
    return float(np.clip((ranked[place] + following) / 2, 1e-4, 1 - 1e-4)), float(score[place])
