"""The shapes and the rows that the tests draw from.

A kernel processes a row in pieces, so bugs show at the edges of the pieces: the numbers of classes
below are those edges, their neighbours, and a few ordinary sizes.
"""

from typing import NamedTuple

import ml_dtypes
import numpy as np

FLOATS = (np.float32, np.float64)
# The types in which logits may be stored; the first two are computed in float32.
STORED = tuple(map(np.dtype, (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)))
LABEL_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")

SHORT_ROWS = (
    1, 2, 3,  # no choice, one pair, no power of two
    7, 8, 9,  # one vector of float64: 8 lanes
    15, 16, 17,  # one vector of float32: 16 lanes
    31, 32, 33,  # four vectors of float64
    63, 64, 65,  # four vectors of float32
    127, 128, 129,  # four quads of float64, two of float32
    255, 256, 257,  # eight quads of float64, four of float32
)  # fmt: skip
MIDDLE_ROWS = (1000, 1001, 1023, 1024, 1025, 2049)  # ImageNet; powers of two and their neighbours
# One segment of a long row, and its neighbours; two segments and a remainder.
LONG_ROWS = (16383, 16384, 16385, 40000)
CLASS_COUNTS = SHORT_ROWS + MIDDLE_ROWS + LONG_ROWS


class Problem(NamedTuple):
    logits: np.ndarray  # (rows, classes)
    labels: np.ndarray  # (rows,) int64
    prior: np.ndarray  # (classes,) float64, all positive


def random_prior(rng, classes):
    """A skewed distribution over the classes, all of them different."""
    weight = rng.exponential(size=classes) + 0.05
    return weight / weight.sum()


def random_probabilities(rng, rows, classes, dtype):
    """Rows of a dense target; they sum to 1 only up to rounding."""
    weight = rng.exponential(size=(rows, classes)) ** 2
    return (weight / weight.sum(-1, keepdims=True)).astype(dtype)


def problem(classes, dtype=np.float32, rows=None, scale=3.0, seed=0):
    """Normal logits; labels with the first and the last class, where off-by-one faults show."""
    rng = np.random.default_rng([seed, classes])
    rows = rows or (7 if classes <= 2049 else 2)
    logits = (scale * rng.standard_normal((rows, classes))).astype(dtype)
    labels = rng.integers(0, classes, rows)
    labels[-1] = classes - 1
    labels[0] = 0
    return Problem(logits, labels, random_prior(rng, classes))


def one_hot(labels, classes, dtype=np.float32):
    return (np.asarray(labels)[..., None] == np.arange(classes)).astype(dtype)


# The five kinds of rows on which accuracy is promised. Each takes a generator and returns float64
# logits and labels.


def ordinary_rows(rng, rows=64, classes=1000):
    """N(0, 3^2): an untrained or half-trained classifier."""
    return 3 * rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)


def wide_rows(rng, rows=64, classes=1000):
    """U(-80, 80): most of the probabilities are denormal or zero in float32."""
    return rng.uniform(-80, 80, (rows, classes)), rng.integers(0, classes, rows)


def confident_rows(rng, rows=64, classes=1000):
    """The label leads by 15 to 40: log p(y), down to 1e-17, is lost if formed from p or logsumexp."""
    logits = rng.standard_normal((rows, classes))
    labels = rng.integers(0, classes, rows)
    logits[np.arange(rows), labels] = logits.max(-1) + rng.uniform(15, 40, rows)
    return logits, labels


def offset_rows(rng, rows=64, classes=1000):
    """N(0, 3^2) + 1e4: log p is a small difference of large numbers if formed from logsumexp."""
    return 1e4 + 3 * rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)


def vocabulary_rows(rng, rows=3, classes=128256):
    """The vocabulary of a language model: a long sum."""
    return 3 * rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)


ROW_KINDS = {
    "ordinary": ordinary_rows,
    "wide": wide_rows,
    "confident": confident_rows,
    "offset": offset_rows,
    "vocabulary": vocabulary_rows,
}
