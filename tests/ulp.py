"""Errors in ulp: units in the last place of the result's own dtype.

One ulp of x in a dtype with p significand bits is 2^(floor(log2 |x|) - p + 1). A correctly rounded
result is within 0.5. Below the smallest normal number the unit would be that of the denormals,
where no accuracy is promised: there a result need only be within one smallest normal number of the
exact one.
"""

import ml_dtypes
import numpy as np

from reference import Real

# The promised bounds, the same for float32 and float64, on ordinary rows.
SOFTMAX = 3.5
LOG_SOFTMAX = 2
LOSS = 2
LOGSUMEXP = 2  # at the size of max(|M|, L), M the largest logit and L = logsumexp - M
GRADIENT = 3.5  # at the size of max(p_k, q'_k); the gradient is p_k - q'_k
# Of the gradient boosting objectives, on any row: e, p, the weight of the row, 1 - p and their products are rounded.
HESSIAN = 8
# On any row, including those found by a search for the largest errors.
SOFTMAX_OF_ANY = GRADIENT_OF_ANY = 5
LOSS_OF_ANY = 3
LOGSUMEXP_OF_ANY = 3.5
# Smoothed probabilities are rounded to the type of the rows before the sum.
SMOOTHED_LOSS_OF_ANY = 4
# With weights, masks and a temperature that is not a power of two.
LOSS_WITH_OPTIONS = {np.float32: 5, np.float64: 7}
GRADIENT_WITH_OPTIONS = {np.float32: 7, np.float64: 9}


def stored(bound, dtype):
    """The bound in a type that may have 16 bits: the float32 result is rounded once, by half an ulp."""
    bits_lost = np.finfo(np.float32).nmant - ml_dtypes.finfo(dtype).nmant
    return bound if bits_lost <= 0 else 0.5 + bound * 2.0**-bits_lost


def exponent_of_ulp(x, dtype):
    """The exponent e for which one ulp of `dtype` at x is 2^e."""
    info = ml_dtypes.finfo(dtype)
    exponent = np.frexp(np.asarray(x, Real))[1] - 1
    return np.maximum(exponent, info.minexp) - info.nmant


def ulp(x, dtype):
    """The size of one ulp of `dtype` at x, in extended precision."""
    return np.ldexp(Real(1), exponent_of_ulp(x, dtype))


def ulp_error(got, exact, at=None):
    """|got - exact| in ulp of got's dtype, at the size of `exact`, or of `at` if given."""
    got, exact = np.asarray(got), np.asarray(exact, Real)
    info = ml_dtypes.finfo(got.dtype)
    scale = np.broadcast_to(np.abs(exact) if at is None else np.asarray(at, Real), exact.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(got.astype(Real) - exact)
        error = np.ldexp(gap, -exponent_of_ulp(scale, got.dtype))
        is_small = scale < info.smallest_normal
        if is_small.any():
            error = np.where(is_small, gap > info.smallest_normal, error)
        is_finite = np.isfinite(got) & np.isfinite(exact)
        # A correctly rounded overflow is no error; neither is nan for nan. Any other nan or
        # infinity is.
        if not is_finite.all():
            same = (got == exact.astype(got.dtype)) | (np.isnan(got) & np.isnan(exact))
            error = np.where(is_finite, error, np.where(same, 0, np.inf))
    return error


def assert_within(bound, got, exact, at=None):
    """Every element of `got` is within `bound` ulp of `exact`; says where the worst one is."""
    got, exact = np.asarray(got), np.asarray(exact, Real)
    assert got.shape == exact.shape, f"shape {got.shape}, expected {exact.shape}"
    error = ulp_error(got, exact, at)
    if error.size and error.max() > bound:
        where = np.unravel_index(np.argmax(error), error.shape)
        place = ", ".join(map(str, where))
        raise AssertionError(
            f"[{place}] is {got[where]!r}, expected {exact[where]!r}: "
            f"{float(error[where]):.3g} ulp, allowed {bound}"
        )


def assert_same_bits(got, expected):
    """Equal dtype, shape and bytes: nan equals nan, and 0.0 differs from -0.0."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype, f"{got.dtype}, expected {expected.dtype}"
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    word = f"u{got.itemsize}"
    different = np.ascontiguousarray(got).view(word) != np.ascontiguousarray(expected).view(word)
    if different.any():
        where = ", ".join(map(str, np.argwhere(different)[0]))
        raise AssertionError(
            f"{int(different.sum())} elements of {got.size} differ, the first at [{where}]"
        )
