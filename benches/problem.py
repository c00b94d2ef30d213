"""The problem for all engines, and the right answers.

    loss      = mean over the rows of sum_k q'_k (lse(z) - z_k)
    gradient  = (softmax(z) - q') / rows
    q'_k      = (1 - eps) q_k + eps u_k,  q_k = [k = label]; for "soft_loss" probabilities

The logits are 3 N(0, 1), made in blocks of rows, each from its own seed: so every process can make
them itself, and the float64 reference never needs all of them in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, int]
Call = Callable[[], Any]
Function = Callable[..., Any]

EPSILON = 0.1
SCALE = 3.0
# Logits in a block of rows.
BLOCK = 1 << 22
# Rows of an answer that are compared.
SAMPLE = 64


@dataclass(frozen=True)
class Problem:
    """Logits, C order, labels as intp, probabilities for few logits, and the smoothing."""

    logits: Array
    labels: Array
    probabilities: Array | None = None
    epsilon: float = EPSILON
    prior: Array | None = None

    @property
    def shape(self) -> Shape:
        """Rows and classes."""
        rows, classes = self.logits.shape
        return rows, classes


class Means(NamedTuple):
    """The right mean losses: of labels without smoothing, smoothed to the uniform prior and to
    `make_prior`; of probabilities, smoothed to the uniform prior.
    """

    plain: float
    uniform: float
    own: float
    soft: float


def blocks(shape: Shape) -> Iterator[tuple[slice, Array]]:
    """Yield the logits in float32, in blocks of rows."""
    rows, classes = shape
    height = max(1, BLOCK // classes)
    for start in range(0, rows, height):
        rng = np.random.default_rng([rows, classes, start])
        stop = min(start + height, rows)
        block = rng.standard_normal((stop - start, classes), dtype=np.float32)
        block *= SCALE
        yield slice(start, stop), block


def make_labels(shape: Shape) -> Array:
    """Return the labels."""
    return np.random.default_rng([*shape, shape[0]]).integers(0, shape[1], shape[0])


def make_probabilities(shape: Shape) -> Array | None:
    """Return a distribution for each row, in float32, if there are few logits."""
    if shape[0] * shape[1] > BLOCK:
        return None
    weights = np.random.default_rng([*shape, shape[1]]).random(shape, dtype=np.float32)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def make_problem(shape: Shape) -> Problem:
    """Return the problem of this shape, the same in every process."""
    logits = np.empty(shape, np.float32)
    for rows, block in blocks(shape):
        logits[rows] = block
    return Problem(logits, make_labels(shape), make_probabilities(shape))


def targets(labels: Array, classes: int, epsilon: float, prior: Array | None = None) -> Array:
    """Return q', dense, in float64."""
    result = np.zeros((len(labels), classes))
    result += epsilon / classes if prior is None else epsilon * prior
    result[np.arange(len(labels)), labels] += 1 - epsilon
    return result


def softmax(logits: Array) -> tuple[Array, Array]:
    """Return softmax and log_softmax in float64."""
    log_p = logits.astype(np.float64)
    log_p -= log_p.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    return np.exp(log_p), log_p


def make_prior(classes: int) -> Array:
    """Return a prior that is not uniform."""
    weights = 1.0 + np.arange(classes)
    return weights / weights.sum()


def mean_losses(shape: Shape) -> Means:
    """Return the mean losses."""
    labels, prior = make_labels(shape), make_prior(shape[1])
    q = make_probabilities(shape)
    plain = uniform = own = 0.0
    soft = 0.0 if q is not None else float("nan")
    for rows, block in blocks(shape):
        _, log_p = softmax(block)
        plain -= log_p[np.arange(len(block)), labels[rows]].sum()
        uniform -= log_p.mean(axis=1).sum()
        own -= (log_p @ prior).sum()
        if q is not None:
            soft -= (q[rows] * log_p).sum()
    plain, uniform, own, soft = (total / shape[0] for total in (plain, uniform, own, soft))
    keep, smooth = (1 - EPSILON) * plain, EPSILON * uniform
    return Means(plain, keep + smooth, keep + EPSILON * own, (1 - EPSILON) * soft + smooth)


def sample(rows: int) -> Array:
    """Return the rows that are compared: the first, the last and some between."""
    return np.unique(np.linspace(0, rows - 1, SAMPLE).astype(int))


def ulps(answer: Any, right: Any, scale: Any, dtype: npt.DTypeLike | None = None) -> float:
    """Return the worst error, in ulp of a type at `scale`; by default the type of the answer."""
    info = ml_dtypes.finfo(np.asarray(answer).dtype if dtype is None else dtype)
    size = np.maximum(scale, float(info.tiny))
    spacing = float(info.eps) * np.exp2(np.floor(np.log2(size)))
    worst = np.max(np.abs(np.asarray(answer).astype(np.float64) - right) / spacing)
    return float(worst) if np.isfinite(worst) else float("inf")


def error(name: str, answer: Any, problem: Problem, means: Means) -> float:
    """Return the worst error of an answer, in ulp.

    The unit is that of losses and probabilities at their own size, of log-probabilities at a size of at
    least 1, and of gradients p - q' at the larger of p and q': peers have no digits below that.
    """
    operation = name.split()[0]
    if operation == "soft_loss":
        return ulps(float(answer), means.soft, means.soft, problem.logits.dtype)
    if operation == "loss":
        return loss_error(answer, problem, means)
    rows = sample(problem.shape[0])
    p, log_p = softmax(problem.logits[rows])
    if operation == "softmax":
        return ulps(np.asarray(answer)[rows], p, p)
    if operation == "log_softmax":
        return ulps(np.asarray(answer)[rows], log_p, np.maximum(np.abs(log_p), 1))
    loss, gradient = answer
    q = targets(problem.labels[rows], problem.shape[1], problem.epsilon, problem.prior)
    gradient, right = np.asarray(gradient)[rows], (p - q) / problem.shape[0]
    scale = np.maximum(p, q) / problem.shape[0]
    return max(loss_error(loss, problem, means), ulps(gradient, right, scale))


def loss_error(answer: Any, problem: Problem, means: Means) -> float:
    """Return the error of a mean loss, in ulp of the type of the logits."""
    right = means.own if problem.prior is not None else means.uniform
    right = right if problem.epsilon else means.plain
    return ulps(float(answer), right, abs(right), problem.logits.dtype)
