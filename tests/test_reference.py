"""The oracle against the plain definitions in 60-digit decimal arithmetic, which share no step with it."""

import decimal

import numpy as np
import pytest

import reference
from problems import FLOATS, ROW_KINDS

# The oracle must be far more accurate than the 2 ulp of float64 that it checks: 2^-53 is half an ulp,
# this is a fortieth of one.
ORACLE_RELATIVE_ERROR = 2.0**-58


def exact(logits, labels, label_smoothing, prior):
    """(loss, gradient, softmax) of each row, as Decimals, from exp, log and sums alone."""
    with decimal.localcontext(decimal.Context(prec=60, Emin=-(10**9), Emax=10**9)):
        number = np.frompyfunc(decimal.Decimal, 1, 1)
        z, u = number(logits.astype(object)), number(prior.astype(object))
        eps = decimal.Decimal(label_smoothing)
        weight = np.frompyfunc(decimal.Decimal.exp, 1, 1)(z)
        total = weight.sum(-1, keepdims=True)
        p = weight / total
        q = (1 - eps) * number(
            (labels[:, None] == np.arange(z.shape[1])).astype(int).astype(object)
        ) + eps * u
        log_p = z - np.frompyfunc(decimal.Decimal.ln, 1, 1)(total)
        return -(q * log_p).sum(-1), p * q.sum(-1, keepdims=True) - q, p


def relative(got, want, scale=None):
    """The largest |got - want| / scale, with the difference in decimal."""
    with decimal.localcontext(decimal.Context(prec=60)):
        scale = want if scale is None else scale
        return max(
            abs((_decimal(g) - w) / s) if s else abs(_decimal(g))
            for g, w, s in zip(got.flat, want.flat, scale.flat)
        )


def _decimal(x):
    """An extended-precision number exactly: the sum of its float64 part and the rest."""
    high = np.float64(x)
    return decimal.Decimal(float(high)) + decimal.Decimal(float(np.float64(x - high)))


@pytest.mark.parametrize("kind", sorted(set(ROW_KINDS) - {"vocabulary"}))
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
def test_oracle_agrees_with_decimals(kind, dtype, label_smoothing):
    rng = np.random.default_rng(1)
    logits, labels = ROW_KINDS[kind](rng, rows=3, classes=40)
    logits = logits.astype(dtype)
    prior = reference.in_row_type(rng.dirichlet(np.ones(40)), logits)
    loss, slope, p = exact(logits.astype(np.float64), labels, label_smoothing, prior)

    got = reference.gradient(logits, labels, label_smoothing, prior)
    at = np.maximum(
        np.abs(slope), p * decimal.Decimal(label_smoothing)
    )  # with smoothing p - q' may truly cancel
    assert relative(got, slope, at) < ORACLE_RELATIVE_ERROR
    assert (
        relative(reference.cross_entropy(logits, labels, label_smoothing, prior), loss)
        < ORACLE_RELATIVE_ERROR
    )
    assert relative(reference.softmax(logits), p) < ORACLE_RELATIVE_ERROR


def test_ties_for_the_maximum():
    logits = np.array([[2.0, 2.0, -1.0, 2.0]])
    rest = np.exp(np.longdouble(-3))
    np.testing.assert_allclose(
        reference.softmax(logits),
        [[1 / (3 + rest)] * 2 + [rest / (3 + rest)] + [1 / (3 + rest)]],
        rtol=1e-18,
    )
    np.testing.assert_allclose(reference.logsumexp(logits), [2 + np.log(3 + rest)], rtol=1e-18)
