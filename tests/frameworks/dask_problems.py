"""Logits, labels and priors in chunks, for the tests of smoothxent.dask."""

import dask.array as da
import numpy as np

from problems import ROW_KINDS

SEGMENT = 16384
BLOCK = (
    64  # classes that are added in the type of the rows; chunks that are no multiples share some
)
TWO = 2.0  # ulp, between any chunks of classes and one machine
ACTIVATIONS = ("softmax", "log_softmax", "logsumexp")
REDUCTIONS = ("none", "sum", "mean", "sum_by_nonzero_weights")
ROWS = 7


def problem(classes, dtype=np.float32, rows=ROWS):
    """Ordinary and confident rows; labels, one of them ignored, one at the first of several maxima; a prior."""
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(rows, classes)) * 4
    logits[0, classes // 3] = 40.0  # all others are small: L is 1e-12
    logits[1, [0, classes - 1]] = 30.0  # two maxima, in the first chunk and the last
    logits[2] += 1e3
    labels = rng.integers(0, classes, rows)
    labels[0], labels[1], labels[3] = classes // 3, classes - 1, -100
    prior = rng.exponential(size=classes)
    return logits.astype(dtype), labels, prior / prior.sum()


def five_kinds(classes, dtype, rows):
    """`rows` rows of each kind on which accuracy is promised, and those of `problem`."""
    rng = np.random.default_rng(classes)
    logits, labels, prior = problem(classes, np.float64)
    made = [of_kind(rng, rows, classes) for of_kind in ROW_KINDS.values()]
    logits, labels = map(np.concatenate, zip((logits, labels), *made))
    return logits.astype(dtype), labels, prior


def smoothings(prior):
    return [
        {},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.1, "prior": prior},
        {"label_smoothing": 1.0, "prior": prior},
    ]


def both(logits, labels, chunks):
    rows, classes = chunks
    return (
        da.from_array(logits, chunks=(rows, classes)),
        da.from_array(labels, chunks=(rows,)),
    )
