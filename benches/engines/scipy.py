"""SciPy's special functions, on one thread: they have no others."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from benches.problem import Array, Call, Problem

PACKAGES = ("scipy", "numpy")


def start(threads: int) -> None:
    """Ignore the number: there is one thread."""


def loss_grad(problem: Problem) -> tuple[float, Array]:
    """Return the mean loss and its gradient."""
    (rows, classes), eps = problem.shape, problem.epsilon
    at_label = np.arange(rows), problem.labels
    log_p = log_softmax(problem.logits, axis=1)
    loss = -(1 - eps) * log_p[at_label].mean() - eps * log_p.mean()
    grad = np.exp(log_p, out=log_p)
    grad -= eps / classes
    grad[at_label] -= 1 - eps
    grad /= rows
    return loss, grad


def loss(problem: Problem) -> float:
    """Return the mean loss, from logsumexp."""
    z, eps = problem.logits, problem.epsilon
    picked = z[np.arange(len(z)), problem.labels]
    return (logsumexp(z, axis=1) - (1 - eps) * picked - eps * z.mean(axis=1)).mean()


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time."""
    return {
        "loss_grad": lambda: loss_grad(problem),
        "loss": lambda: loss(problem),
        "softmax": lambda: softmax(problem.logits, axis=1),
        "log_softmax": lambda: log_softmax(problem.logits, axis=1),
    }
