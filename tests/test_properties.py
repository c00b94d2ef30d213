"""What the formulas imply, for any rows, layouts, targets and options; bounds are in ulp.

Two approximations of the same number, each within its bound, differ by at most two bounds, in ulp of
the larger one.
"""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import options_reference
import reference
import ulp
from problems import STORED
from reference import Real
from strategies import (
    class_counts,
    labels_of,
    layouts,
    only,
    options_of,
    priors_of,
    rows_of,
    seeds,
    smoothings,
)
from test_gradient import DIFFERENCE, differences
from ulp import assert_same_bits, assert_within

every_dtype = pytest.mark.parametrize("dtype", STORED, ids=str)
INF = np.inf
LARGEST = 1000.0  # of ordinary logits: large enough for probabilities of 0

# With weights, temperature, z_loss: test_options.py.
GRADIENT = ulp.GRADIENT + 1
# Rows of more classes are summed in another order.
FEW_CLASSES = 64
# A result against a multiple of another: one bound for each, and an ulp of the other may become two.
SCALED = 3
# Weights up to 3·4 and temperatures down to 0.1 make the third derivative, below 0.1 for a softmax,
# 12·1000 times as large: differences with this step then have errors of 2e-8.
STEEP_DIFFERENCE = 100 * DIFFERENCE
POWERS_OF_TWO = (2.0**-6, 0.25, 0.5, 2.0, 8.0, 2.0**10)


def assert_agree(bound, one, other, at=0.0):
    """Two results within `bound` of the same number, of the size of the larger or of `at`."""
    one, other = np.asarray(one), np.asarray(other)
    size = np.maximum(np.maximum(np.abs(one.astype(Real)), np.abs(other.astype(Real))), at)
    assert_within(2 * ulp.stored(bound, one.dtype), one, other.astype(Real), at=size)


def assert_scaled_bits(got, power, unscaled):
    """got = power·unscaled, with the same bits if both are so large that all terms are normal numbers, too;
    otherwise a term may have underflowed."""
    least = np.finfo(got.dtype).smallest_normal / np.finfo(got.dtype).eps
    seen = ~((np.abs(got) < least) | (np.abs(unscaled) < least))
    assert_same_bits(got[seen], unscaled[seen] * got.dtype.type(power))
    assert (np.abs(got[~seen]) <= max(1, power) * least).all()
    assert (np.abs(unscaled[~seen]) <= max(1, 1 / power) * least).all()


def gradient_size(rows, labels, prior, label_smoothing):
    """max(p, q'), the size of the bound of the gradient."""
    q = reference.smoothed(labels, rows.shape[1], label_smoothing, prior)
    return np.maximum(reference.softmax(rows), q)


@st.composite
def problems(draw, dtype, specials=(-INF,)):
    """Rows of ordinary size with some -inf, labels and a prior."""
    layout = draw(layouts())
    rows = draw(rows_of(math.prod(layout.batch), dtype, specials, LARGEST))
    prior = draw(priors_of(rows.shape[1]))
    return layout, rows, draw(labels_of(rows)), prior


# The integers up to this size are exact in the type.
EXACT_INTEGERS = dict(zip(STORED, (2**11, 2**8, 2**24, 2**53), strict=True))


@every_dtype
@given(data=st.data(), label_smoothing=smoothings)
def test_shift(dtype, data, label_smoothing):
    """Adding a constant to a row changes only its logsumexp, by the constant.

    Logits and constants are integers, and so are their sums.
    """
    layout = data.draw(layouts())
    shape = (math.prod(layout.batch), data.draw(class_counts))
    integers = st.integers(-60, 60) | st.just(-INF) if shape[1] <= 16 else st.integers(-60, 60)
    rows = data.draw(hnp.arrays(np.float64, shape, elements=integers)).astype(dtype)
    room = EXACT_INTEGERS[dtype] - 60
    constants = data.draw(
        hnp.arrays(np.int64, (shape[0], 1), elements=st.integers(-room, room), fill=st.just(room))
    )
    moved = (rows.astype(np.float64) + constants).astype(dtype)
    labels, prior = data.draw(labels_of(rows)), data.draw(priors_of(shape[1]))
    options = {"label_smoothing": label_smoothing, "prior": prior}
    loss, grad = layout.value_and_grad(rows, labels, **options)
    other_loss, other_grad = layout.value_and_grad(moved, labels, **options)
    assert_agree(ulp.LOSS, loss, other_loss)
    size = gradient_size(rows, labels, prior, label_smoothing)
    assert_agree(ulp.GRADIENT, grad, other_grad, at=size)
    p, log_p, lse = layout.activations(rows)
    other_p, other_log_p, other_lse = layout.activations(moved)
    assert_agree(ulp.SOFTMAX, p, other_p)
    assert_agree(ulp.LOG_SOFTMAX, log_p, other_log_p)
    size = np.maximum(np.abs(rows.max(-1)), np.abs(moved.max(-1))).astype(Real)
    size = np.maximum(size, reference.shifted(rows).log_total[:, 0])
    bound = 2 * ulp.stored(ulp.LOGSUMEXP, dtype)
    assert_within(bound, other_lse, lse.astype(Real) + constants[:, 0], at=size)


@every_dtype
@given(data=st.data(), label_smoothing=smoothings, seed=seeds)
def test_permutation(dtype, data, label_smoothing, seed):
    """Classes in another order: the same results in that order."""
    layout, rows, labels, prior = data.draw(problems(dtype))
    order = np.random.default_rng(seed).permutation(rows.shape[1])
    place = np.argsort(order)  # where each class went
    options = {"label_smoothing": label_smoothing}
    loss, grad = layout.value_and_grad(rows, labels, prior=prior, **options)
    other_loss, other_grad = layout.value_and_grad(
        rows[:, order], place[labels], prior=prior[order], **options
    )
    assert_agree(ulp.LOSS, loss, other_loss)
    size = gradient_size(rows, labels, prior, label_smoothing)[:, order]
    assert_agree(ulp.GRADIENT, grad[:, order], other_grad, at=size)
    p, log_p, lse = layout.activations(rows)
    other_p, other_log_p, other_lse = layout.activations(rows[:, order])
    assert_agree(ulp.SOFTMAX, p[:, order], other_p)
    assert_agree(ulp.LOG_SOFTMAX, log_p[:, order], other_log_p)
    assert_agree(ulp.LOGSUMEXP, lse, other_lse, at=np.abs(rows.max(-1).astype(Real)))


@every_dtype
@given(data=st.data())
def test_equal_logits_have_equal_probabilities(dtype, data):
    """To the bit."""
    layout, rows, _, _ = data.draw(problems(dtype))
    for result in layout.activations(rows)[:2]:
        for z, values in zip(rows, result):
            order = np.argsort(z, kind="stable")
            ascending, values = z[order], values[order].astype(np.float64)
            ties = ascending[1:] == ascending[:-1]
            assert_same_bits(values[1:][ties], values[:-1][ties])


def sum_slack(terms_size, bound, count, dtype):
    """How far the sum of `count` rounded terms may be from the exact one.

    The error of a term of size s is `bound` ulp, at most bound·eps·s, so that of the sum is bound·eps
    times the sum of the sizes. Below the smallest normal number a float32 or float64 term may be
    replaced by 0; a 16-bit term has an error of half the spacing there, plus that of the float32 result.
    """
    info, wide = ml_dtypes.finfo(dtype), np.finfo(np.float32)
    if dtype.itemsize > 2:
        return bound * float(info.eps) * terms_size + count * float(info.smallest_normal)
    underflow = float(info.smallest_subnormal) / 2 + float(wide.smallest_normal)
    return (float(info.eps) / 2 + bound * float(wide.eps)) * terms_size + count * underflow


@every_dtype
@given(data=st.data(), label_smoothing=smoothings)
def test_sums(dtype, data, label_smoothing):
    """sum p = 1 and sum gradient = 0: the sizes of the terms, p and max(p, q'), sum to 1 and 2."""
    layout, rows, labels, prior = data.draw(problems(dtype))
    classes = rows.shape[1]
    p = layout.activations(rows)[0].astype(Real).sum(-1)
    finite = np.isfinite(rows.max(-1).astype(float))
    assert (np.abs(p - 1)[finite] <= sum_slack(1, ulp.SOFTMAX, classes, dtype)).all()
    _, grad = layout.value_and_grad(rows, labels, prior=prior, label_smoothing=label_smoothing)
    total = grad.astype(Real).sum(-1)[finite]
    assert (np.abs(total) <= sum_slack(2, ulp.GRADIENT, classes, dtype)).all()


@every_dtype
@given(data=st.data())
def test_sample_weight(dtype, data):
    """Loss and gradient are linear in it; for a power of two with the same bits."""
    layout, rows, labels, _ = data.draw(problems(dtype))
    options = data.draw(options_of(rows, without=("sample_weight",)))
    options["grad_dtype"] = wide = np.promote_types(dtype, np.float32)
    loss, grad = layout.value_and_grad(rows, labels, **options)
    power = data.draw(st.sampled_from(POWERS_OF_TWO))
    weights = np.full(len(rows), power)
    scaled, scaled_grad = layout.value_and_grad(rows, labels, sample_weight=weights, **options)
    assert_scaled_bits(scaled, power, loss)
    assert_scaled_bits(scaled_grad, power, grad)
    weights = np.random.default_rng(data.draw(seeds)).uniform(0, 5, len(rows))
    weights[0] = data.draw(st.floats(0, 1e3))
    scaled, scaled_grad = layout.value_and_grad(rows, labels, sample_weight=weights, **options)
    assert (scaled[weights == 0] == 0).all()
    assert (scaled_grad[weights == 0] == 0).all()
    read = weights != 0
    loss, grad, weights = loss[read], grad[read], weights[read].astype(Real)
    assert_within(SCALED * ulp.LOSS_OF_ANY, scaled[read], weights * loss)
    del options["grad_dtype"]
    exact = options_reference.Problem(rows, labels, **options)
    weights = weights[:, None]
    bound = SCALED * GRADIENT * ulp.ulp(exact.gradient_size()[read] * weights, wide)
    bound = bound + np.maximum(1, weights) * np.finfo(wide).smallest_normal  # if either underflowed
    difference = np.abs(scaled_grad[read] - weights * grad)
    assert ((difference <= bound) | (np.isnan(scaled_grad[read]) & np.isnan(grad))).all()


@every_dtype
@given(data=st.data())
def test_temperature(dtype, data):
    """A power of two divides the logits exactly: results have the same bits as with divided logits.

    So has the gradient, apart from the factor 1/T, unless one of the two has underflowed.
    """
    layout, rows, labels, _ = data.draw(problems(dtype))
    options = data.draw(options_of(rows, without=("temperature",)))
    temperature = data.draw(st.sampled_from(POWERS_OF_TWO))
    divided = rows.astype(Real) / temperature
    exact = divided == divided.astype(dtype)  # neither overflow nor underflow
    rows, divided = np.where(exact, rows, 0), np.where(exact, divided, 0).astype(dtype)
    heat = {"where": options["where"]} if "where" in options else {}
    results = layout.activations(rows, temperature=temperature, **heat)
    for got, expected in zip(results, layout.activations(divided, **heat), strict=True):
        assert_same_bits(got, expected)
    options["grad_dtype"] = np.promote_types(dtype, np.float32)
    loss, grad = layout.value_and_grad(rows, labels, temperature=temperature, **options)
    other_loss, other_grad = layout.value_and_grad(divided, labels, **options)
    assert_same_bits(loss, other_loss)
    assert_scaled_bits(grad, 1 / temperature, other_grad)


@every_dtype
@given(data=st.data())
def test_where_at_the_end(dtype, data):
    """Classes masked at the end of the row, without smoothing: the same bits as without these classes.

    Up to 64 classes the order of summation is another one, so both rows must be on the same side. A row
    of one class is 1 however 1/S is rounded; if `where` leaves only one class, it is 1 within an ulp.
    """
    layout, rows, labels, _ = data.draw(problems(dtype))
    classes = rows.shape[1]
    assume(classes not in (1, FEW_CLASSES))
    more = data.draw(st.integers(1, FEW_CLASSES - classes if classes < FEW_CLASSES else 70))
    filler = np.full((len(rows), more), data.draw(st.sampled_from((0, 50, -INF, INF, np.nan))))
    longer = np.concatenate([rows, filler.astype(dtype)], axis=1)
    where = np.arange(longer.shape[1]) < rows.shape[1]
    p, log_p, lse = layout.activations(longer, where=np.tile(where, (len(rows), 1)))
    loss, grad = layout.value_and_grad(longer, labels, where=np.tile(where, (len(rows), 1)))
    assert (p[:, ~where] == 0).all()
    assert (log_p[:, ~where] == -INF).all()
    assert (grad[:, ~where] == 0).all()
    for one, other in zip((p, log_p), layout.activations(rows)[:2], strict=True):
        assert_same_bits(one[:, where], other)
    assert_same_bits(lse, layout.activations(rows)[2])
    alone, alone_grad = layout.value_and_grad(rows, labels)
    assert_same_bits(loss, alone)
    assert_same_bits(grad[:, where], alone_grad)


@every_dtype
@given(data=st.data(), label_smoothing=smoothings)
def test_where(dtype, data, label_smoothing):
    """Masked classes are the same as removed classes, with the prior renormalised over the others.

    The others move to other lanes of the sum, so the last bits may differ.
    """
    layout, rows, labels, prior = data.draw(problems(dtype))
    kept = np.random.default_rng(data.draw(seeds)).random(rows.shape[1]) < 0.6
    kept[0] = True
    labels = np.where(kept[labels], labels, 0)
    left = prior[kept] / math.fsum(prior[kept])
    where = np.tile(kept, (len(rows), 1))
    options = {"label_smoothing": label_smoothing}
    loss, grad = layout.value_and_grad(rows, labels, where=where, prior=prior, **options)
    place = np.cumsum(kept) - 1  # where each class went
    cut = rows[:, kept]
    other_loss, other_grad = layout.value_and_grad(cut, place[labels], prior=left, **options)
    # The renormalised prior is rounded twice, by a relative 2^-52 in all: up to 2 ulp of float64.
    of_prior = 1 if dtype.itemsize == 8 else 0
    assert_agree(ulp.LOSS + of_prior, loss, other_loss)
    size = gradient_size(cut, place[labels], left, label_smoothing)
    assert_agree(GRADIENT + of_prior, grad[:, kept], other_grad, at=size)
    assert (grad[:, ~kept] == 0).all()
    p, log_p, lse = layout.activations(rows, where=where)
    other_p, other_log_p, other_lse = layout.activations(cut)
    assert_agree(ulp.SOFTMAX, p[:, kept], other_p)
    assert_agree(ulp.LOG_SOFTMAX, log_p[:, kept], other_log_p)
    assert_agree(ulp.LOGSUMEXP, lse, other_lse, at=np.abs(cut.max(-1).astype(Real)))


@every_dtype
@given(data=st.data(), label_smoothing=smoothings)
def test_terms(dtype, data, label_smoothing):
    """(1 - eps) nll + eps prior_cross_entropy is the loss; prior_kl + prior_entropy the latter."""
    layout, rows, labels, _ = data.draw(problems(dtype))
    options = data.draw(options_of(rows, without=("class_weight", "sample_weight", "z_loss")))
    options["label_smoothing"] = label_smoothing
    loss, _ = layout.value_and_grad(rows, labels, **options)
    del options["label_smoothing"]
    terms = layout.terms(rows, labels, **options)
    nll, cross_entropy, kl, entropy, _ = (term.astype(Real) for term in terms)
    eps = Real(label_smoothing)
    hard = 0 if eps == 1 else (1 - eps) * nll
    soft = 0 if eps == 0 else eps * cross_entropy
    assert_within(2 * ulp.LOSS, loss, hard + soft)
    # The divergence is a difference: its error is in ulp of the cross-entropy.
    finite = np.isfinite(cross_entropy)
    at = np.maximum(cross_entropy, entropy)[finite]
    assert_within(2 * ulp.LOSS, terms.prior_cross_entropy[finite], (kl + entropy)[finite], at=at)
    np.testing.assert_array_equal(kl[~finite], cross_entropy[~finite])
    heat = {name: options[name] for name in ("where", "temperature") if name in options}
    wide = rows.astype(loss.dtype)
    assert_same_bits(terms.logsumexp, layout.activations(wide, **heat)[2])


@given(data=st.data(), is_labels=st.booleans())
def test_gradient_of_small_problems(data, is_labels):
    """Against the oracle, and the gradient against finite differences of the loss."""
    layout = data.draw(layouts())
    count = math.prod(layout.batch)
    shape = (count, data.draw(st.integers(1, 5)))
    rows = data.draw(hnp.arrays(np.float64, shape, elements=st.floats(-3, 3, width=16)))
    options = data.draw(options_of(rows))
    kept = options.get("where", np.ones(shape, bool))
    labels = data.draw(labels_of(rows))
    labels = np.where(kept[np.arange(count), labels], labels, 0)
    q = np.random.default_rng(data.draw(seeds)).uniform(0, 1, shape) * kept
    targets = labels if is_labels else q
    exact = options_reference.Problem(rows, targets, **options)
    loss, grad = layout.value_and_grad(rows, targets, **options)
    assert_within(ulp.LOSS_OF_ANY, loss, exact.losses())
    assert_within(GRADIENT, grad, exact.gradient(), at=exact.gradient_size())
    some = np.arange(min(count, 2))
    own = only(options, some)
    short = layout._replace(batch=(len(some),), axis=-1, order=(0, 1), steps=layout.steps[:2])

    def total(z):
        return short.value_and_grad(z, targets[some], reduction="sum", **own)[0]

    assert np.abs(grad[some] - differences(total, rows[some])).max() <= STEEP_DIFFERENCE
