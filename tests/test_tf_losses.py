"""tf_losses against recorded results of tf.compat.v1.losses: the vectors of parity/tensorflow.npz.

The options of a case are those of the TensorFlow call in smoothxent's terms. So our results are
compared with the formulas to the digits of float64, and TensorFlow's to those of float32.
"""

import doctest
import inspect
import re

import numpy as np
import pytest

import smoothxent as sx
import ulp
from parity.archive import as_type
from smoothxent import tf_losses
from test_parity import RELATIVE, TF_LOSSES, TF_LOSSES_RELATIVE, exact_answer, recorded

REDUCTIONS = (
    "none",
    "weighted_sum",
    "weighted_mean",
    "weighted_sum_over_batch_size",
    "weighted_sum_by_nonzero_weights",
)
# For a sum of float32 losses, each within the promised ulp, against TensorFlow's.
FLOAT32_RELATIVE = TF_LOSSES_RELATIVE + ulp.LOSS * 2.0**-23
FLOAT16_RELATIVE = 2.0**-10  # for TensorFlow's float16 answers

CASES = [
    case
    for case in recorded("tensorflow")
    if case["call"].startswith(TF_LOSSES) and not case["call"].endswith("XLA")
]
GRID = [case for case in CASES if "name" not in case]
NAMED = [case for case in CASES if "name" in case]
CALLS = sorted({case["call"] for case in GRID})

# Where we differ from TensorFlow: we return the exact result, or raise this exception.
EXACT = {"-inf off the label", "-inf off the label, one-hot", "confident rows"}
RAISES = {
    "label_smoothing -0.1": "label_smoothing must be in [0, 1], got -0.1",
    "label_smoothing 1.5": "label_smoothing must be in [0, 1], got 1.5",
    "label_smoothing nan": "label_smoothing must be in [0, 1], got nan",
    "negative probability": "onehot_labels[0, 1] is -0.5, but probabilities must be finite and non-negative",
}  # fmt: skip

Z = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.0, 4.0]])
Y = np.array([0, 1, 2, 0])
Q = np.eye(3)[Y]
dense, sparse = tf_losses.softmax_cross_entropy, tf_losses.sparse_softmax_cross_entropy


def one_hot(labels, classes):
    """As tf.one_hot: zeros for labels that are no classes."""
    return (labels[..., None] == np.arange(classes)).astype(np.float32)


def ours(case, dtype, reduction):
    """The answer to a case: arguments in the order in which TensorFlow takes them."""
    logits, options = as_type(case["logits"], dtype), case["options"]
    targets, weights = case["targets"], as_type(options.get("sample_weight", 1.0), dtype)
    if "sparse" in case["call"]:
        return sparse(targets, logits, weights, reduction=reduction)
    if targets.ndim < logits.ndim:
        targets = one_hot(targets, logits.shape[-1])
    label_smoothing = options["label_smoothing"]
    return dense(as_type(targets, dtype), logits, weights, label_smoothing, reduction=reduction)


@pytest.mark.parametrize("call", CALLS)
def test_grid(call):
    reduction = call[call.index("(") + 1 : -1]
    for case in GRID:
        if case["call"] != call:
            continue
        want = case["float64"]["loss"]
        exact = np.asarray(exact_answer(case)["loss"], np.float64)
        described = f"{case['shape']}, {case['variant']}, {case['options']}"
        for dtype, relative in (("float64", TF_LOSSES_RELATIVE), ("float32", FLOAT32_RELATIVE)):
            answer = ours(case, dtype, reduction)
            assert np.shape(answer) == want.shape, described
            np.testing.assert_allclose(answer, want, rtol=relative, err_msg=described)
            if dtype == "float64":
                np.testing.assert_allclose(answer, exact, rtol=RELATIVE, err_msg=described)
            if reduction == "none":
                assert answer.dtype == dtype
            else:
                assert type(answer) is float


def test_grid_tells_the_reductions_apart():
    """All reductions are recorded, with weights that are partly 0 and with weights that are broadcast."""
    assert {call.partition("(")[2][:-1] for call in CALLS} == set(REDUCTIONS)
    weighted = [case for case in GRID if "sample_weight" in case["options"]]
    assert any((case["options"]["sample_weight"] == 0).any() for case in weighted)
    assert any(1 in case["options"]["sample_weight"].shape for case in weighted)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case['name']}: {case['call']}") for case in NAMED]
)
def test_named(case):
    name = case["name"]
    dtype = "float64" if "float64" in case else "float16"
    reduction = {"none": "none", "mean": "weighted_mean"}[case["options"]["reduction"]]
    if "error" in case[dtype]:  # a label that is no class
        with pytest.raises(sx.LabelError, match=r"^labels\[1\] is -?\d, but there are 3 classes$"):
            ours(case, dtype, reduction)
    elif name in RAISES:
        with pytest.raises(ValueError, match=f"^{re.escape(RAISES[name])}$"):
            ours(case, dtype, reduction)
    else:
        want = exact_answer(case)["loss"] if name in EXACT else case[dtype]["loss"]
        relative = {"float16": FLOAT16_RELATIVE, "float64": TF_LOSSES_RELATIVE}[dtype]
        answer = ours(case, dtype, reduction)
        np.testing.assert_allclose(answer, np.asarray(want, np.float64), rtol=relative)


class TestZeroInsteadOfNan:
    @pytest.mark.parametrize("reduction", REDUCTIONS[1:])
    @pytest.mark.parametrize("weights", [0, 0.0, np.zeros(4), [[0.0]]])
    def test_no_weights(self, weights, reduction):
        if np.ndim(weights) < 2:
            assert dense(Q, Z, weights, 0.1, reduction) == 0.0
        assert sparse(Y, Z, weights, reduction) == 0.0

    @pytest.mark.parametrize("reduction", REDUCTIONS[1:])
    def test_no_rows(self, reduction):
        assert dense(Q[:0], Z[:0], reduction=reduction) == 0.0
        assert sparse(Y[:0], Z[:0], np.zeros(0), reduction) == 0.0

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_row_of_weight_zero_is_not_read(self, reduction):
        z = np.where(np.arange(4)[:, None] == 2, np.nan, Z)
        weights = np.array([1.0, 2.0, 0.0, 0.5])
        np.testing.assert_array_equal(
            dense(Q, z, weights, 0.1, reduction), dense(Q, Z, weights, 0.1, reduction)
        )

    def test_a_nan_that_is_read_stays(self):
        assert np.isnan(sparse([0], [[np.nan, 1.0]]))


class TestLargeWeights:
    """Results that are in range are right, even if their sums overflow in float64."""

    def of(self, weights, reduction, z=((0.0, 0.0), (0.0, 0.0))):
        return sparse([0, 1], np.array(z), weights, reduction)

    @pytest.mark.parametrize("weights", [[1e308] * 2, 1e308, [1e308], [1.7e308] * 2])
    def test_mean(self, weights):
        expected = self.of(1.0, "weighted_mean")
        assert self.of(weights, "weighted_mean") == pytest.approx(expected, rel=1e-15)
        q = np.eye(2)
        dense_mean = dense(q, np.zeros((2, 2)), weights, reduction="weighted_mean")
        assert dense_mean == pytest.approx(expected, rel=1e-15)

    def test_mean_of_weights_of_all_sizes(self):
        ratio = self.of([1e308, 0.5e308], "mean", [[0.0, 0.0], [1.0, 0.0]])
        expected = self.of([1.0, 0.5], "mean", [[0.0, 0.0], [1.0, 0.0]])
        assert ratio == pytest.approx(expected, rel=1e-15)
        z = [[0.0, 0.0], [0.0, 0.0], [np.nan, 0.0]]
        for weights in ([1e308, 1e-300, 0.0], [1e308, 1e308, 0.0]):
            assert sparse([0, 1, 1], z, weights, "mean") == pytest.approx(np.log(2), rel=1e-15)

    @pytest.mark.parametrize("reduction", ["sum_by_nonzero_weights", "sum_over_batch_size"])
    def test_number_of_rows(self, reduction):
        assert self.of([1.5e308] * 2, reduction) == pytest.approx(1.5e308 * np.log(2), rel=1e-15)
        z = [[0.0, 9.0], [9.0, 0.0]]
        assert self.of([1.5e308] * 2, reduction, z) == np.inf
        assert dense(np.eye(2), z, [1.5e308] * 2, reduction=reduction) == np.inf
        # A weight that would underflow in scaling still counts.
        assert self.of([1.5e308, 1e-320], reduction) == pytest.approx(
            1.5e308 * np.log(2) / 2, rel=1e-15
        )

    @pytest.mark.parametrize("reduction", REDUCTIONS[1:])
    def test_a_row_of_tiny_weight_is_read(self, reduction):
        for logit, expected in ((np.nan, np.nan), (-np.inf, np.inf)):
            value = self.of([1e308, 1e-300], reduction, [[0.0, 0.0], [0.0, logit]])
            np.testing.assert_equal(value, expected)

    def test_sum(self):
        assert self.of([1.7e308] * 2, "sum") == np.inf
        assert (self.of([1.7e308] * 2, "none", [[0.0, 9.0], [9.0, 0.0]]) == np.inf).all()

    def test_no_warning_and_the_weights_stay(self):
        weights = np.array([1e308, 1e308])
        with np.errstate(all="raise"):
            for reduction in REDUCTIONS:
                self.of(weights, reduction)
        assert (weights == 1e308).all()

    def test_what_is_refused_is_named_as_given(self):
        for bad in (-1e308, np.nan, np.inf):
            with pytest.raises(ValueError, match=rf"^weights\[1\] is {re.escape(str(bad))}, but"):
                self.of([1e308, bad], "weighted_mean")


class TestArguments:
    def test_signatures(self):
        def names(function):
            parameters = inspect.signature(function).parameters.values()
            return ", ".join(str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters)

        last = "reduction='sum_by_nonzero_weights'"
        assert names(dense) == f"onehot_labels, logits, weights=1.0, label_smoothing=0, {last}"
        assert names(sparse) == f"labels, logits, weights=1.0, {last}"
        assert set(tf_losses.__all__) == {dense.__name__, sparse.__name__}

    def test_by_keyword(self):
        by_name = dense(
            onehot_labels=Q, logits=Z, weights=2.0, label_smoothing=0.1, reduction="none"
        )
        np.testing.assert_array_equal(by_name, dense(Q, Z, 2.0, 0.1, "none"))
        assert sparse(labels=Y, logits=Z, weights=2.0) == sparse(Y, Z, 2.0)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_short_names(self, reduction):
        weights = [1.0, 0.0, 2.0, 0.5]
        short = reduction.removeprefix("weighted_")
        np.testing.assert_array_equal(
            dense(Q, Z, weights, 0.1, short), dense(Q, Z, weights, 0.1, reduction)
        )

    def test_default_is_over_the_nonzero_weights(self):
        weights = np.array([3.0, 0.0, 1.0, 0.0])
        losses = sx.cross_entropy(Z, Y, label_smoothing=0.1, reduction="none")
        want = (losses * weights).sum() / 2
        assert dense(Q, Z, weights, 0.1) == pytest.approx(want, rel=RELATIVE)

    def test_scalar_weight_scales_all_but_the_mean(self):
        for reduction in REDUCTIONS:
            factor = 1.0 if reduction == "weighted_mean" else 4.0
            np.testing.assert_array_equal(
                sparse(Y, Z, 4.0, reduction), factor * np.asarray(sparse(Y, Z, 1.0, reduction))
            )

    @pytest.mark.parametrize(
        "reduction", ["sum", "mean", "sum_over_batch_size", "sum_by_nonzero_weights"]
    )
    def test_no_bit_depends_on_the_layout_of_the_weights(self, reduction):
        """NumPy adds the numbers of other layouts in another order."""
        rng = np.random.default_rng(11)
        z, y = rng.standard_normal((50, 7, 3)), rng.integers(0, 3, (50, 7))
        for _ in range(20):
            w = rng.random((50, 7))
            losses = [
                tf_losses.sparse_softmax_cross_entropy(y, z, weights, reduction=reduction)
                for weights in (w, np.asfortranarray(w), np.repeat(w, 2, axis=1)[:, ::2])
            ]
            assert losses[0] == losses[1] == losses[2]

    def test_last_axis_of_length_one_is_squeezed(self):
        weights = np.array([1.0, 0.0, 2.0, 0.5])
        for reduction in REDUCTIONS:
            want = sparse(Y, Z, weights, reduction)
            np.testing.assert_array_equal(sparse(Y[:, None], Z, weights, reduction), want)
            np.testing.assert_array_equal(sparse(Y, Z, weights[:, None], reduction), want)
            np.testing.assert_array_equal(sparse(Y[:, None], Z, weights[:, None], reduction), want)

    @pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32"])
    def test_types_of_one_hot_labels(self, dtype):
        assert dense(Q.astype(dtype), Z, 1.0, 0.1) == dense(Q, Z, 1.0, 0.1)

    def test_one_row_without_a_batch_axis(self):
        assert dense(Q[0], Z[0], 2.0) == sparse(0, Z[0], 2.0) == 2 * sparse(Y[:1], Z[:1])

    def test_index_in_a_column_of_labels(self):
        with pytest.raises(sx.LabelError) as error:
            sparse(9 * Y[:, None], Z)
        assert error.value.index == (1, 0)

    def test_ignore_index_means_nothing(self):
        with pytest.raises(sx.LabelError, match=r"^labels\[2\] is -100, but there are 3 classes$"):
            sparse([0, 1, -100, 0], Z, [1.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize("name", tf_losses.__all__)
def test_docstring_examples(name):
    function = getattr(tf_losses, name)
    (examples,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert examples.examples
    report = []
    results = doctest.DocTestRunner().run(examples, out=report.append)
    assert results.failed == 0, "".join(report)
