"""The paper's formulas in extended precision: the oracle (arXiv 1512.00567, section 7).

For logits z, a target distribution q, a prior u and smoothing eps, with the classes last:

    p(k)             = exp(z_k) / sum_i exp(z_i)
    q'(k)            = (1 - eps) q(k) + eps u(k)
    H(q', p)         = -sum_k q'(k) log p(k)                   where 0 log 0 = 0
    d H(q', p)/d z_k = (sum_j q'(j)) p(k) - q'(k)

Three deviations keep the 64 bits of np.longdouble on x86 where the formulas would lose them:

1. z - max z is kept as a rounded difference and its rounding error (Knuth's TwoSum), since the
   exact difference of two float64 numbers may need more than 64 bits.
2. log p(k) = (z_k - M) - L with L = log(c) + log1p(S_o / c), for the c classes at the maximum M and
   the sum S_o over the others: both terms are <= 0, so nothing cancels, and L is accurate when one
   class has nearly all the probability.
3. 1 - p(k) is summed, not subtracted:
   gradient = p(k) sum_{j != k} q'(j) - q'(k) sum_{j != k} p(j).

`test_reference.py` checks this file against decimal arithmetic of 60 digits.
"""

import functools
from typing import NamedTuple

import numpy as np

Real = np.longdouble


class Shifted(NamedTuple):
    """A row's logits relative to its maximum M."""

    distance: np.ndarray  # fl(z - M), <= 0
    residue: np.ndarray  # (z - M) - fl(z - M)
    weight: np.ndarray  # exp(z - M), in [0, 1]
    others: np.ndarray  # sum over j != k of weight_j
    log_total: np.ndarray  # L = logsumexp(z) - M, kept as a column


def shifted(logits):
    z = np.asarray(logits)
    return shifted_bytes(z.tobytes(), z.dtype, z.shape)


@functools.lru_cache(maxsize=4)  # the formulas below need the same rows; exponentials are slow
def shifted_bytes(data, dtype, shape):
    z = np.ndarray(shape, dtype, data).astype(Real)
    top = z.max(-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # inf - inf: a row with no finite maximum is nan throughout
        distance = z - top
        part = distance + top
        residue = np.where(np.isfinite(distance), (z - part) - (top - (part - distance)), 0)
        weight = np.exp(distance) * (1 + residue)
    at_top = distance == 0
    ties = at_top.sum(-1, keepdims=True).astype(Real)
    below = np.where(at_top, 0, weight).sum(-1, keepdims=True)
    others = np.where(at_top, below + (ties - 1), (ties + below) - weight)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_total = np.log(ties) + np.log1p(below / ties)
    return Shifted(distance, residue, weight, others, log_total)


def softmax(logits):
    row = shifted(logits)
    return row.weight / row.weight.sum(-1, keepdims=True)


def log_softmax(logits):
    row = shifted(logits)
    return (row.distance - row.log_total) + row.residue


def logsumexp(logits):
    return np.asarray(logits, Real).max(-1) + shifted(logits).log_total[..., 0]


def in_row_type(values, logits):
    """Priors and probabilities are rounded once, to the type in which the rows are computed."""
    dtype = np.asarray(logits).dtype
    is_double = dtype == np.float64 or dtype.kind in "biu"
    return np.asarray(values).astype(np.float64 if is_double else np.float32)


def smoothed(targets, classes, label_smoothing=0.0, prior=None, ignore_index=-100):
    """q' = (1 - eps) q + eps u of labels or probabilities; zeros for an ignored label."""
    targets = np.asarray(targets)
    if targets.dtype.kind in "iu":
        q = (targets[..., None] == np.arange(classes)).astype(Real)
        counts = targets[..., None] != ignore_index
    else:  # the kind of bfloat16 is not that of NumPy's floats
        q, counts = targets.astype(Real), True
    if label_smoothing != 0:  # otherwise the prior is not read
        u = np.full(classes, 1 / Real(classes)) if prior is None else np.asarray(prior, Real)
        q = (1 - Real(label_smoothing)) * q + Real(label_smoothing) * u
    return q if np.all(counts) else counts * q


def target_of(logits, targets, label_smoothing=0.0, prior=None, ignore_index=-100):
    """q' of the rows of `logits`."""
    targets = np.asarray(targets)
    targets = targets if targets.dtype.kind in "iu" else in_row_type(targets, logits)
    prior = None if prior is None else in_row_type(prior, logits)
    return smoothed(targets, np.shape(logits)[-1], label_smoothing, prior, ignore_index)


def cross_entropy(logits, targets, label_smoothing=0.0, prior=None, ignore_index=-100):
    """The loss of every row, H(q', p)."""
    q = target_of(logits, targets, label_smoothing, prior, ignore_index)
    with np.errstate(invalid="ignore"):
        return -np.where(q == 0, 0, q * log_softmax(logits)).sum(-1)


def gradient(logits, targets, label_smoothing=0.0, prior=None, ignore_index=-100):
    """The gradient of the sum of the losses."""
    q = target_of(logits, targets, label_smoothing, prior, ignore_index)
    row, mass = shifted(logits), q.sum(-1, keepdims=True)
    total = row.weight.sum(-1, keepdims=True)
    slope = row.weight / total * (mass - q) - q * (row.others / total)
    return np.where(mass == 0, 0, slope)
