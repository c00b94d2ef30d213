"""scikit-learn's own loss for its multinomial models: no smoothing, so less work."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn._loss.loss import HalfMultinomialLoss

from benches.problem import Call, Problem

PACKAGES = ("scikit-learn",)
EPSILON = 0.0
OPTIONS: dict[str, Any] = {}


def start(threads: int) -> None:
    """Set the number of threads."""
    OPTIONS["n_threads"] = threads


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time; the weights turn the sum into a mean."""
    rows, classes = problem.shape
    engine = HalfMultinomialLoss(n_classes=classes)
    y, losses = problem.labels.astype(np.float32), np.zeros(rows, np.float32)
    weights, out = np.full(rows, 1 / rows, np.float32), np.zeros_like(problem.logits)
    shared = (y, problem.logits, weights, losses)

    def loss_grad() -> tuple[np.float64, Any]:
        engine.loss_gradient(*shared, out, **OPTIONS)
        return losses.sum(dtype=np.float64), out

    def loss() -> np.float64:
        engine.loss(*shared, **OPTIONS)
        return losses.sum(dtype=np.float64)

    return {"loss_grad out": loss_grad, "loss": loss}
