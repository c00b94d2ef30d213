"""NumPy: whole arrays, all temporaries reused, on one thread: it has no others."""

from __future__ import annotations

import numpy as np

from benches.problem import Array, Call, Problem

PACKAGES = ("numpy",)


def start(threads: int) -> None:
    """Ignore the number: there is one thread."""


class Engine:
    """The operations, with their workspace."""

    def __init__(self, problem: Problem) -> None:
        """Allocate the workspace."""
        self.problem, self.out = problem, np.zeros_like(problem.logits)
        self.at_label = np.arange(len(problem.labels)), problem.labels

    def shift(self) -> Array:
        """Write z - max z to `out`."""
        z = self.problem.logits
        return np.subtract(z, z.max(axis=1, keepdims=True), out=self.out)

    def softmax(self) -> Array:
        """Return the softmax of each row."""
        p = np.exp(self.shift(), out=self.out)
        p /= p.sum(axis=1, keepdims=True)
        return p

    def log_softmax(self) -> Array:
        """Return its logarithm."""
        shifted = self.shift()
        shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return shifted

    def loss_grad(self) -> tuple[float, Array]:
        """Return the mean loss and its gradient."""
        (rows, classes), eps = self.problem.shape, self.problem.epsilon
        shifted = self.shift()
        value = -(1 - eps) * shifted[self.at_label].mean() - eps * shifted.mean()
        p = np.exp(shifted, out=self.out)
        sums = p.sum(axis=1, keepdims=True)
        p /= sums * np.float32(rows)
        p -= eps / classes / rows
        p[self.at_label] -= (1 - eps) / rows
        return value + np.log(sums).mean(), p

    def loss(self) -> float:
        """Return the mean loss."""
        eps, shifted = self.problem.epsilon, self.shift()
        value = -(1 - eps) * shifted[self.at_label].mean() - eps * shifted.mean()
        return value + np.log(np.exp(shifted, out=self.out).sum(axis=1)).mean()


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time; all except the loss alone reuse the memory of their results."""
    engine = Engine(problem)
    return {
        "loss_grad out": engine.loss_grad,
        "loss": engine.loss,
        "softmax out": engine.softmax,
        "log_softmax out": engine.log_softmax,
    }
