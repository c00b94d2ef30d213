"""Rows of several segments whose classes lie apart in memory, where many rows are copied together: the bits of
contiguous rows.
"""

import numpy as np
import pytest

import smoothxent as sx
from problems import STORED, problem, random_probabilities
from ulp import assert_same_bits

OPTIONS = {"label_smoothing": 0.1, "reduction": "none"}
ROWS = (7, 8, 16, 37)  # from half a vector of float32 on, they are copied together


def columns(classes, dtype, rows):
    """Logits with rows of every special kind, and labels with ignored ones."""
    z, labels, u = problem(classes, np.float64, rows=rows)
    z[1, 5], z[2, 16384], z[3, :] = np.nan, np.inf, -np.inf
    z[4, ::3] = -np.inf
    z[5] *= 1e4 if dtype == np.float16 else 1e37  # shifted by its maximum, which is huge
    z[6] = np.round(z[6])  # ties
    labels[4] = -100
    with np.errstate(over="ignore"):
        return z.astype(dtype), labels, u


def everything(z, labels, u, axis, new=lambda z: None):
    """All results; `new` makes the outputs of the shape of the logits."""
    loss, grad = sx.cross_entropy_value_and_grad(
        z, labels, prior=u, axis=axis, grad_out=new(z), **OPTIONS
    )
    p, log_p = sx.softmax(z, axis=axis, out=new(z)), sx.log_softmax(z, axis=axis, out=new(z))
    best = sx.top_k_log_softmax(z, 3, axis=axis)
    return [loss, sx.logsumexp(z, axis=axis)], [grad, p, log_p, best.indices, best.log_probs]


def assert_all_same(got, expected, axis):
    for one, other in zip(got[0], expected[0], strict=True):
        assert_same_bits(one, other)
    for one, other in zip(got[1], expected[1], strict=True):
        assert_same_bits(np.moveaxis(one, axis, -1), other)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_classes_along_the_first_axis(dtype, rows, threads):
    z, labels, u = columns(16385, dtype, rows)
    with sx.num_threads(threads):
        expected = everything(z, labels, u, -1)
        turned = np.ascontiguousarray(z.T)
        assert_all_same(everything(turned, labels, u, 0), expected, 0)
        assert_all_same(everything(turned, labels, u, 0, lambda z: np.full_like(z, 7)), expected, 0)
        assert_all_same(everything(z.copy(order="F"), labels, u, -1), expected, -1)
        assert_same_bits(turned, z.T)


@pytest.mark.parametrize("orders", ["CF", "FC"])
@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_only_logits_or_only_outputs(dtype, orders):
    z, labels, u = columns(40000, dtype, 19)
    expected = everything(z, labels, u, -1)
    read, written = orders
    got = everything(
        np.array(z, order=read), labels, u, -1, lambda z: np.full_like(z, 7, order=written)
    )
    assert_all_same(got, expected, -1)


@pytest.mark.parametrize("shape", [(2, 16385, 17), (3, 16400, 8), (9, 16385, 2)])
def test_an_axis_between(shape):
    z = problem(shape[1], rows=shape[0] * shape[2]).logits
    z = np.moveaxis(z.reshape(shape[0], shape[2], shape[1]), 1, 2).copy()
    flat = np.moveaxis(z, 1, -1).copy()
    assert_same_bits(np.moveaxis(sx.softmax(z, axis=1), 1, -1), sx.softmax(flat))
    assert_same_bits(sx.logsumexp(z, axis=1), sx.logsumexp(flat))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_in_place(dtype):
    z, labels, u = columns(16390, dtype, 21)
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, prior=u, **OPTIONS)
    for call, expected in (
        (lambda out: sx.softmax(out, out=out), sx.softmax(z)),
        (lambda out: sx.log_softmax(out, out=out), sx.log_softmax(z)),
        (
            lambda out: sx.cross_entropy_value_and_grad(
                out, labels, prior=u, grad_out=out, **OPTIONS
            ),
            grad,
        ),
    ):
        out = np.asfortranarray(z)
        call(out)
        assert_same_bits(out, expected)
    assert np.isfinite(loss[0])


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 0.1},
        {"temperature": 2.0, "z_loss": 0.1},
        {"temperature": 1e-9},  # the logits are multiplied by a power of two
        {"where": True},
        {"class_weight": True, "label_smoothing": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize("targets", ["labels", "probabilities"])
def test_options(targets, options):
    z, labels, u = problem(16400, rows=18)
    q = random_probabilities(np.random.default_rng(0), 18, 16400, np.float32)
    t = labels if targets == "labels" else q
    if "where" in options:
        options = {"where": np.arange(16400) % 7 != 3}
        t = labels - (labels % 7 == 3) if targets == "labels" else q * options["where"]
    if "class_weight" in options:
        options = {**options, "class_weight": u, "prior": u}
    for reduction in ("none", "mean"):
        loss, grad = sx.cross_entropy_value_and_grad(z, t, reduction=reduction, **options)
        fortran = np.asfortranarray(z)
        for order in "CF":
            turned = np.array(t, order=order)
            got = sx.cross_entropy_value_and_grad(fortran, turned, reduction=reduction, **options)
            assert_same_bits(got[0], loss)
            assert_same_bits(got[1], grad)


@pytest.mark.parametrize("orders", ["CFF", "FCC", "FCF", "FFC", "FFF"])
@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_masks_and_probabilities_of_each_row(dtype, orders):
    z, labels, u = columns(16390, dtype, 19)
    rng = np.random.default_rng(0)
    where = rng.random(z.shape) < 0.7
    where[np.arange(len(z)), labels.clip(0)] = True
    where[9] = False
    labels[9] = -100
    z[8] -= 40  # the factor of the probabilities is negative, so masked gradients would be -0
    q = random_probabilities(rng, 19, 16390, np.float32) * where
    q = q.astype(dtype)

    def results(z, where, q, new):
        yield sx.softmax(z, where=where, out=new())
        yield sx.log_softmax(z, where=where, out=new())
        yield sx.logsumexp(z, where=where)
        yield from sx.top_k_log_softmax(z, 5, where=where)
        for targets, mask, options in (
            (labels, where, {"label_smoothing": 0.1}),
            (labels, where, {"label_smoothing": 0.1, "prior": u}),
            (q, where, {"label_smoothing": 0.1}),
            (q, None, {"label_smoothing": 0.0}),
            (q, None, {"label_smoothing": 0.1}),
            (q, where, {"label_smoothing": 0.1, "class_weight": u, "z_loss": 0.1}),
            (q.astype(np.float64), None, {"label_smoothing": 0.1, "prior": u}),
        ):
            options = {"where": mask, "reduction": "none", **options}
            yield sx.cross_entropy(z, targets, **options)
            yield from sx.cross_entropy_value_and_grad(z, targets, grad_out=new(), **options)

    expected = list(results(z, where, q, lambda: np.full_like(z, 7)))
    turned = [np.array(a, order=order) for a, order in zip((z, where, q), orders, strict=True)]
    for order in "CF":
        got = results(*turned, lambda order=order: np.full_like(z, 7, order=order))
        for one, other in zip(got, expected, strict=True):
            assert_same_bits(one, other)
