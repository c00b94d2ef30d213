"""This package."""

from __future__ import annotations

import numpy as np

import smoothxent as sx
from benches.problem import Call, Problem

PACKAGES = ("smoothxent", "numpy")
start = sx.set_num_threads


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time."""
    z, y, eps = problem.logits, problem.labels, problem.epsilon
    out, q = np.zeros_like(z), problem.probabilities
    both = sx.cross_entropy_value_and_grad
    result: dict[str, Call] = {
        "loss_grad": lambda: both(z, y, label_smoothing=eps),
        "loss_grad out": lambda: both(z, y, label_smoothing=eps, grad_out=out),
        "loss": lambda: sx.cross_entropy(z, y, label_smoothing=eps),
        "softmax": lambda: sx.softmax(z),
        "softmax out": lambda: sx.softmax(z, out=out),
        "log_softmax": lambda: sx.log_softmax(z),
        "log_softmax out": lambda: sx.log_softmax(z, out=out),
    }
    if q is not None:
        result["soft_loss"] = lambda: sx.cross_entropy(z, q, label_smoothing=eps)
    return result
