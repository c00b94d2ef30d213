"""Masks of large arrays, whose outputs are written by streaming stores, where they belong."""

import numpy as np
import pytest

import smoothxent as sx
from ulp import assert_same_bits


@pytest.mark.parametrize("classes", [40, 1000, 20_000])
def test_masked_rows_of_large_arrays(classes):
    """They have the bits of rows of small arrays. Rows with NaN and rows without classes are filled."""
    rng = np.random.default_rng(classes)
    rows = 7_000_000 // classes
    z, labels = rng.standard_normal((rows, classes), np.float32), rng.integers(0, classes, rows)
    where = rng.random(z.shape) < 0.7
    where[np.arange(rows), labels] = True
    z[3, np.flatnonzero(where[3])[1]], z[5], labels[7] = np.nan, -np.inf, -100
    where[9], where[11, labels[11]] = False, False
    options = {"label_smoothing": 0.1, "reduction": "none"}
    calls = {
        "softmax": lambda at, out: sx.softmax(z[at], where=where[at], out=out),
        "log_softmax": lambda at, out: sx.log_softmax(z[at], where=where[at], out=out),
        "gradient": lambda at, out: sx.cross_entropy_value_and_grad(
            z[at], labels[at], where=where[at], grad_out=out, **options
        )[1],
    }
    for name, call in calls.items():
        together = call(slice(None), np.full_like(z, 7))
        assert (together[~where] == (-np.inf if name == "log_softmax" else 0)).all(), name
        assert np.isnan(together[3][where[3]]).all(), name
        parts = (slice(first, first + 50) for first in range(0, rows, 50))
        assert_same_bits(together, np.concatenate([call(at, None) for at in parts]))
