"""What the bits of a row do not depend on, for any rows, layouts, targets and options.

Special values are included, and nan equals nan.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import smoothxent as sx
from problems import STORED, one_hot
from strategies import Layout, labels_of, layouts, only, options_of, rows_of, seeds
from ulp import assert_same_bits

every_dtype = pytest.mark.parametrize("dtype", STORED, ids=str)
INF, NAN = np.inf, np.nan
SPECIALS = (-INF, INF, NAN, -0.0, 1e-45, 1e30, -1e30, 3e38, -3e38)
REDUCTIONS = ("none", "sum", "mean", "sum_by_nonzero_weights")
# Enough logits for two threads: half a MiB, 131 072 logits in float32, is for one thread.
MANY_LOGITS = 140_000


def plain(count):
    """The layout of contiguous rows."""
    return Layout((count,), 1, (0, 1), (1, 1))


def everything(layout, rows, targets, options):
    """All the results of each row."""
    heat = {name: options[name] for name in ("where", "temperature") if name in options}
    of_terms = heat | ({"prior": options["prior"]} if "prior" in options else {})
    return (
        *layout.activations(rows, **heat),
        *layout.value_and_grad(rows, targets, **options),
        *layout.terms(rows, targets, **of_terms),
    )


def assert_all_same(got, expected):
    for one, other in zip(got, expected, strict=True):
        assert_same_bits(one, other)


@st.composite
def calls(draw, dtype):
    """Rows, labels or probabilities for them, and options."""
    layout = draw(layouts())
    rows = draw(rows_of(int(np.prod(layout.batch)), dtype, SPECIALS))
    targets = draw(labels_of(rows))
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(seeds))
        targets = rng.random(rows.shape).astype(draw(st.sampled_from(STORED)))
    return layout, rows, targets, draw(options_of(rows))


@every_dtype
@given(data=st.data())
def test_layout(dtype, data):
    """Axes, their order, strides and direction."""
    layout, rows, targets, options = data.draw(calls(dtype))
    expected = everything(plain(len(rows)), rows, targets, options)
    assert_all_same(everything(layout, rows, targets, options), expected)


@every_dtype
@given(data=st.data())
def test_labels_one_hot_and_probabilities(dtype, data):
    """A target with a single 1 in each row gives the same as the label, in any type."""
    layout, rows, _, options = data.draw(calls(dtype))
    labels = data.draw(labels_of(rows))
    q = one_hot(labels, rows.shape[1], data.draw(st.sampled_from(STORED)))
    for reduction in REDUCTIONS:
        by_label = layout.value_and_grad(rows, labels, reduction=reduction, **options)
        by_target = layout.value_and_grad(rows, q, reduction=reduction, **options)
        assert_all_same(by_target, by_label)
    of_terms = {name: options[name] for name in ("prior", "where", "temperature") if name in options}  # fmt: skip
    assert_all_same(layout.terms(rows, q, **of_terms), layout.terms(rows, labels, **of_terms))


@every_dtype
@given(data=st.data())
def test_part_of_the_batch(dtype, data):
    """Some rows in any order, also more than once: each has the same results as in its place."""
    _, rows, targets, options = data.draw(calls(dtype))
    count = len(rows)
    chosen = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=9)))
    whole = everything(plain(count), rows, targets, options)
    own = only(options, chosen)
    part = everything(plain(len(chosen)), rows[chosen], targets[chosen], own)
    assert_all_same(part, [result[chosen] for result in whole])


@every_dtype
@given(data=st.data())
def test_threads_and_place_in_a_large_batch(dtype, data):
    _, rows, targets, options = data.draw(calls(dtype))
    expected = everything(plain(len(rows)), rows, targets, options)
    times = MANY_LOGITS // rows.size + 1 if rows.shape[1] > 16 else 64
    again = np.tile(np.arange(len(rows)), times)
    large = rows[again], targets[again], only(options, again)
    with sx.num_threads(data.draw(st.integers(1, 5))):
        got = everything(plain(len(again)), *large)
    assert_all_same(got, [result[again] for result in expected])


@every_dtype
@given(data=st.data())
def test_padding(dtype, data):
    """Ignored rows change no bit of the loss or the gradient of the others."""
    _, rows, _, options = data.draw(calls(dtype))
    labels = data.draw(labels_of(rows))
    ignored = data.draw(st.sampled_from((-100, -1, rows.shape[1], 2**40)))
    padding = np.array(data.draw(st.lists(st.booleans(), min_size=1, max_size=30)))
    place = np.sort(np.random.default_rng(data.draw(seeds)).permutation(len(rows) + len(padding))[: len(rows)])  # fmt: skip
    total = len(rows) + len(padding)
    is_row = np.isin(np.arange(total), place)
    source = np.zeros(total, int)
    source[is_row] = np.arange(len(rows))
    padded = rows[source]
    padded[~is_row] = data.draw(st.sampled_from((NAN, INF, -INF, 0.0)))
    padded_labels = np.where(is_row, labels[source], ignored)
    own = only(options, source)
    for reduction in REDUCTIONS:
        fixed = {"ignore_index": ignored, "reduction": reduction}
        value, grad = plain(total).value_and_grad(padded, padded_labels, **own, **fixed)
        alone, alone_grad = plain(len(rows)).value_and_grad(rows, labels, **options, **fixed)
        assert_same_bits(value[is_row] if reduction == "none" else value, alone)
        assert_same_bits(grad[is_row], alone_grad)
        assert (grad[~is_row] == 0).all()
        assert reduction != "none" or (value[~is_row] == 0).all()


@every_dtype
@given(data=st.data())
def test_out(dtype, data):
    """A given array gets the bits of a new one, in any layout, also in place of the logits."""
    layout, rows, targets, options = data.draw(calls(dtype))
    other = data.draw(layouts().filter(lambda one: len(one.batch) == len(layout.batch)))
    away = layout._replace(order=other.order, steps=other.steps)
    laid = layout.lay_options(options)
    heat = {name: laid[name] for name in ("where", "temperature", "axis") if name in laid}
    goal = layout.lay_targets(targets)
    p, log_p, lse = layout.activations(rows, **{k: v for k, v in options.items() if k in heat})
    loss, grad = layout.value_and_grad(rows, targets, **options)

    def in_place_or_not():
        """The logits, and the array for the result: another, then the logits themselves."""
        yield layout.lay(rows), away.lay(np.ones_like(rows))
        own = layout.lay(rows)
        yield own, own

    for function, fresh in ((sx.softmax, p), (sx.log_softmax, log_p)):
        for z, out in in_place_or_not():
            assert function(z, out=out, **heat) is out
            assert_same_bits(layout.rows(out), fresh)
    for z, grad_out in in_place_or_not():
        out = layout.lay_scalars(np.ones_like(loss))
        got = sx.cross_entropy_value_and_grad(
            z, goal, reduction="none", out=out, grad_out=grad_out, **laid
        )
        assert got[0] is out
        assert got[1] is grad_out
        assert_same_bits(out.reshape(-1), loss)
        assert_same_bits(layout.rows(grad_out), grad)
    out = layout.lay_scalars(np.ones_like(lse))
    assert sx.logsumexp(layout.lay(rows), out=out, **heat) is out
    assert_same_bits(out.reshape(-1), lse)
    out = layout.lay_scalars(np.ones_like(loss))
    assert sx.cross_entropy(layout.lay(rows), goal, reduction="none", out=out, **laid) is out
    assert_same_bits(out.reshape(-1), loss)
