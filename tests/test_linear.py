"""The loss of a linear layer: the results of the dense computation, for any chunks, in the memory of a chunk.

Hidden rows and weights are small multiples of 1/4, so that logits are exact in float32 for any order of
summation in a BLAS. Then the losses of rows have the bits of the dense ones, and so has the gradient of
the logits, except for a divisor; products with it are rounded.
"""

import ml_dtypes
import numpy as np
import pytest

import smoothxent as sx
from reference import Real
from smoothxent import _linear_products
from ulp import assert_same_bits, assert_within

every_type = pytest.mark.parametrize("dtype", [np.float32, np.float64])
N, K, D = 13, 29, 8
INF, NAN = np.inf, np.nan

# The gradient of the logits is divided by the weights, scaled by their unit or not: two roundings each.
QUOTIENTS = 4
# The parts of a mean are divided before they are added, each with a rounding and a unit.
PARTS = 4


@pytest.fixture(autouse=True)
def blocks_of_five_classes(monkeypatch):
    monkeypatch.setattr(_linear_products, "_BLOCK_WEIGHTS", 5 * D)


def quarters(rng, *shape, dtype=np.float32):
    return (rng.integers(-8, 9, shape) / 4).astype(dtype)


def layer(dtype, *rows, seed=0, bias=True):
    """Hidden rows, weights, a bias and labels."""
    rng = np.random.default_rng(seed)
    rows = rows or (N,)
    hidden, weight = quarters(rng, *rows, D, dtype=dtype), quarters(rng, K, D, dtype=dtype)
    return hidden, weight, quarters(rng, K, dtype=dtype) if bias else None, rng.integers(0, K, rows)


def rounded_sums(got, terms, extra=0):
    """Check sums of products: `terms` are (a, b) whose product a @ b was computed in the type of `got`.

    A sum of n products has n roundings, in any order (Higham, Accuracy and Stability, 3.1).
    """
    a, b = (np.asarray(term, Real) for term in terms)
    roundings = a.shape[-1] + 1 + extra
    bound = roundings * Real(np.finfo(got.dtype).eps) * (np.abs(a) @ np.abs(b))
    wrong = np.abs(got - a @ b) > bound
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size}, the first at {np.argwhere(wrong)[0]}"


def check(hidden, weight, targets, bias=None, chunk_rows=None, **options):
    """Check both functions against the dense computation, with and without a sum over the rows."""
    wide = weight.astype(hidden.dtype)
    z = hidden @ wide.T if bias is None else hidden @ wide.T + bias.astype(hidden.dtype)
    loss, grad = sx.cross_entropy_value_and_grad(z, targets, **options)
    options |= {"bias": bias, "chunk_rows": chunk_rows}
    got = sx.linear_cross_entropy_value_and_grad(hidden, weight, targets, **options)
    if np.ndim(loss) or options.get("reduction") == "none":
        assert_same_bits(got.loss, loss)
    else:
        assert type(got.loss) is float
        assert_within(PARTS, np.float64(got.loss), np.float64(loss))
    assert_same_bits(sx.linear_cross_entropy(hidden, weight, targets, **options), got.loss)
    flat = grad.reshape(-1, K)
    assert got.hidden_grad.shape == hidden.shape
    rounded_sums(got.hidden_grad.reshape(-1, D), (flat, wide), QUOTIENTS)
    rounded_sums(got.weight_grad, (flat.T, hidden.reshape(-1, D)), QUOTIENTS)
    gradients = [got.hidden_grad, got.weight_grad]
    if bias is None:
        assert got.bias_grad is None
    else:
        gradients.append(got.bias_grad)
        rounded_sums(got.bias_grad[None], (np.ones((1, len(flat))), flat), QUOTIENTS)
    assert {a.dtype for a in gradients} == {hidden.dtype}
    return got


def rows_kept(rng, *shape):
    where = rng.random((*shape, K)) < 0.7
    where[..., 0] = True
    where[(shape[0] // 2,)] = False  # rows without a class
    return where


def distributions(rng, *shape):
    q = rng.random((*shape, K))
    return q / q.sum(-1, keepdims=True)


rng = np.random.default_rng(1)
WEIGHTS = np.where(np.arange(N) == 2, 0, rng.uniform(0.5, 3, N))
EVERYTHING = {
    "label_smoothing": 0.1,
    "prior": distributions(rng, N),
    "class_weight": rng.uniform(0.1, 4, K),
    "sample_weight": WEIGHTS,
    "where": rows_kept(rng, N),
    "temperature": 2.7,
    "z_loss": 0.01,
    "ignore_index": 7,
}
OPTIONS = {
    "nothing": {},
    "smoothing": {"label_smoothing": 0.1},
    "a prior": {"label_smoothing": 0.1, "prior": distributions(rng)},
    "a prior in a list": {"label_smoothing": 0.1, "prior": [1.0] + [0.0] * (K - 1)},
    "a prior for each row": {"label_smoothing": 0.1, "prior": distributions(rng, N)},
    "one prior of two axes": {"label_smoothing": 0.1, "prior": distributions(rng, 1)},
    "class_weight": {"class_weight": EVERYTHING["class_weight"]},
    "sample_weight": {"sample_weight": WEIGHTS},
    "one sample_weight": {"sample_weight": 0.3},
    "where": {"where": rows_kept(rng, N)},
    "where for all": {"where": np.arange(K) % 3 != 1},
    "where of whole rows": {"where": np.arange(N)[:, None] % 4 != 1},
    "where is True": {"where": True},
    "temperature": {"temperature": 0.5},
    "z_loss": {"z_loss": 0.1},
    "ignore_index": {"ignore_index": 3},
    "no ignore_index": {"ignore_index": None},
    "everything": EVERYTHING,
}
REDUCTIONS = ["mean", "sum", "none", "sum_by_nonzero_weights"]


@every_type
@pytest.mark.parametrize("chunk_rows", [1, 3, N, 100, None])
@pytest.mark.parametrize("name", OPTIONS)
class TestEqualToTheDense:
    def test_labels(self, dtype, chunk_rows, name):
        hidden, weight, bias, labels = layer(dtype)
        labels[:2] = 3, 7
        for reduction in REDUCTIONS:
            check(hidden, weight, labels, bias, chunk_rows, reduction=reduction, **OPTIONS[name])

    def test_probabilities(self, dtype, chunk_rows, name):
        hidden, weight, _, _ = layer(dtype)
        q = distributions(np.random.default_rng(2), N).astype(dtype)
        for reduction in REDUCTIONS:
            check(hidden, weight, q, None, chunk_rows, reduction=reduction, **OPTIONS[name])


@every_type
def test_rows_of_several_axes(dtype):
    rng = np.random.default_rng(3)
    hidden, weight, bias, labels = layer(dtype, 2, 5)
    labels[1, 3] = -100
    options = {
        "label_smoothing": 0.1,
        "prior": distributions(rng, 2, 1),
        "sample_weight": rng.uniform(1, 2, (2, 1)),
        "where": rng.random((5, K)) < 0.8,
    }
    for targets in (labels, np.where(labels < 0, 0, labels), distributions(rng, 2, 5)):
        for reduction in REDUCTIONS:
            check(hidden, weight, targets, bias, 3, reduction=reduction, **options)
    for_all = {"prior": distributions(rng, 1, 1), "sample_weight": np.full((1, 1), 0.3)}
    check(hidden, weight, labels, bias, 3, **{**options, **for_all})


@every_type
def test_one_row(dtype):
    hidden, weight, bias, _ = layer(dtype)
    for reduction in REDUCTIONS:
        got = check(hidden[0], weight, np.int64(3), bias, reduction=reduction, label_smoothing=0.1)
        assert got.hidden_grad.shape == (D,)


@pytest.mark.parametrize("type16", [np.float16, ml_dtypes.bfloat16])
@every_type
def test_weights_of_16_bits(type16, dtype):
    hidden, weight, bias, labels = layer(dtype)
    check(hidden, weight.astype(type16), labels, bias.astype(type16), 5, label_smoothing=0.1)


def widely(rows, columns):
    return np.zeros((rows, columns + 3), np.float32)[:, :columns]


def every_other(rows, columns):
    return np.zeros((2 * rows, 2 * columns), np.float32)[::2, ::-2]


def fortran(rows, columns):
    return np.zeros((columns, rows), np.float32).T


def misaligned(rows, columns):
    return np.zeros(4 * rows * columns + 1, np.uint8)[1:].view(np.float32).reshape(rows, columns)


@pytest.mark.parametrize("new", [widely, every_other, fortran, misaligned])
def test_any_memory_layout(new):
    hidden, weight, bias, labels = layer(np.float32)
    h, w = new(N, D), new(K, D)
    h[...], w[...] = hidden, weight
    outs = {
        "hidden_grad_out": new(N, D),
        "weight_grad_out": new(K, D),
        "bias_grad_out": new(1, K)[0],
    }
    got = sx.linear_cross_entropy_value_and_grad(h, w, labels, bias=bias, chunk_rows=5, **outs)
    assert all(a is b for a, b in zip(got[1:], outs.values()))
    check(h, w, labels, bias, 5)
    for a, b in zip(
        got, sx.linear_cross_entropy_value_and_grad(hidden, weight, labels, bias=bias, chunk_rows=5)
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_other_byte_order_and_lists():
    hidden, weight, bias, labels = layer(np.float64)
    right = sx.linear_cross_entropy(hidden, weight, labels, bias=bias)
    swapped = [a.astype(a.dtype.newbyteorder()) for a in (hidden, weight, labels, bias)]
    assert sx.linear_cross_entropy(*swapped[:3], bias=swapped[3]) == right
    lists = [a.tolist() for a in (hidden, weight, labels, bias)]
    assert sx.linear_cross_entropy(*lists[:3], bias=lists[3]) == right


@pytest.mark.parametrize("chunk_rows", [1, 4, N])
def test_in_place_of_the_hidden_rows(chunk_rows):
    hidden, weight, _, labels = layer(np.float32)
    labels[4] = -100
    options = {"chunk_rows": chunk_rows, "label_smoothing": 0.1}
    right = sx.linear_cross_entropy_value_and_grad(hidden, weight, labels, **options)
    got = sx.linear_cross_entropy_value_and_grad(
        hidden, weight, labels, hidden_grad_out=hidden, **options
    )
    assert got.hidden_grad is hidden
    for a, b in zip(got[:3], right[:3]):
        assert_same_bits(a, b)


class TestRowsThatDoNotCount:
    @every_type
    @pytest.mark.parametrize("how", ["ignored", "of weight 0", "without a class"])
    def test_are_never_read(self, dtype, how):
        hidden, weight, bias, labels = layer(dtype)
        padding = np.arange(N) % 3 == 1
        options = {"label_smoothing": 0.1, "bias": bias, "chunk_rows": 4}
        if how == "ignored":
            labels[padding] = -100
        elif how == "of weight 0":
            options["sample_weight"] = np.where(padding, 0.0, 1.0)
        else:
            options["where"] = ~padding[:, None]
        right = sx.linear_cross_entropy_value_and_grad(hidden, weight, labels, **options)
        hidden[padding] = NAN
        hidden[1] = INF
        got = sx.linear_cross_entropy_value_and_grad(hidden, weight, labels, **options)
        for a, b in zip(got, right):
            assert_same_bits(a, b)
        assert (got.hidden_grad[padding] == 0).all()
        losses = sx.linear_cross_entropy(hidden, weight, labels, reduction="none", **options)
        assert (losses[padding] == 0).all()
        assert (losses[~padding] != 0).all()

    @pytest.mark.parametrize("rows", [0, 5])
    @pytest.mark.parametrize(
        "options, loss",
        [
            ({}, NAN),
            ({"normalizer": 3.0}, 0.0),
            ({"reduction": "sum"}, 0.0),
            ({"reduction": "sum_by_nonzero_weights"}, 0.0),
        ],
    )
    def test_nothing_counts(self, rows, options, loss):
        hidden, weight, bias, _ = layer(np.float32, rows)
        outs = {
            "hidden_grad_out": np.full((rows, D), 7, np.float32),
            "weight_grad_out": np.full((K, D), 7, np.float32),
            "bias_grad_out": np.full(K, 7, np.float32),
        }
        labels = np.full(rows, -100)
        got = sx.linear_cross_entropy_value_and_grad(
            hidden, weight, labels, bias=bias, **outs, **options
        )
        assert_same_bits(got.loss, loss)
        assert_same_bits(
            sx.linear_cross_entropy(hidden, weight, labels, bias=bias, **options), loss
        )
        for out in outs.values():
            assert (out == 0).all()

    def test_without_a_divisor_the_gradient_is_0(self):
        hidden, weight, _, labels = layer(np.float32)
        options = {"class_weight": np.zeros(K), "label_smoothing": 0.1}
        got = check(hidden, weight, labels, None, 4, **options)
        assert np.isnan(got.loss)
        assert (got.weight_grad == 0).all()


def test_special_logits():
    """A row with a nan has a loss of nan, and other rows are unchanged; NumPy does not warn."""
    hidden, weight, _, labels = layer(np.float32)
    right = sx.linear_cross_entropy(hidden, weight, labels, reduction="none")
    hidden[3, 2], hidden[5, 1] = NAN, INF
    losses = sx.linear_cross_entropy(hidden, weight, labels, reduction="none", chunk_rows=4)
    odd = np.isin(np.arange(N), [3, 5])
    assert np.isnan(losses[odd]).all()
    assert_same_bits(losses[~odd], right[~odd])
    assert np.isnan(sx.linear_cross_entropy(hidden, weight, labels, chunk_rows=4))


def test_micro_batches():
    """Losses and gradients of parts with the normalizer of all add up to those of all."""
    hidden, weight, bias, labels = layer(np.float64)
    labels[2] = -100
    whole = sx.linear_cross_entropy_value_and_grad(hidden, weight, labels, bias=bias)
    parts = [
        sx.linear_cross_entropy_value_and_grad(
            hidden[rows], weight, labels[rows], bias=bias, normalizer=np.sum(labels != -100)
        )
        for rows in (slice(4), slice(4, None))
    ]
    assert_within(PARTS, np.float64(whole.loss), np.float64(parts[0].loss + parts[1].loss))
    np.testing.assert_allclose(
        whole.weight_grad, parts[0].weight_grad + parts[1].weight_grad, rtol=0, atol=1e-15
    )
