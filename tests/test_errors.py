"""Errors say what was given, where, and what was expected; their texts are part of the interface.

Nothing is written on an error, and of several faults the one in the lowest row is reported.
"""

import re
from functools import partial

import numpy as np
import pytest

import smoothxent as sx
from problems import FLOATS, LABEL_DTYPES, problem

Z = problem(10, np.float32, rows=8).logits  # (8, 10)
Y = np.arange(8)
Q = np.full((8, 10), 0.1)


def with_entry(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


def read_only(array):
    array.flags.writeable = False
    return array


def loss(logits=Z, targets=Y, **options):
    return partial(sx.cross_entropy, logits, targets, **options)


def value_and_grad(logits=Z, targets=Y, **options):
    return partial(sx.cross_entropy_value_and_grad, logits, targets, **options)


def terms(logits=Z, targets=Y, **options):
    return partial(sx.cross_entropy_terms, logits, targets, **options)


def softmax(logits=Z, **options):
    return partial(sx.softmax, logits, **options)


OVERLAPS_ITSELF = "out overlaps itself (two of its elements share memory)"
BAD_PRIOR = "but a prior must be finite and non-negative"
BAD_PROBABILITY = "but probabilities must be finite and non-negative"
KINDS_OF_TARGETS = (
    "targets must be integer labels of shape (8,) or floating probabilities of shape (8, 10), got"
)
U = [0.1] * 10
U_ROWS = np.full((8, 10), 0.1)

# name: (call, exception, text)
CASES = {
    # labels
    "label too large": (loss(targets=with_entry(Y, 5, 10)), sx.LabelError,
        "targets[5] is 10, but there are 10 classes (ignore_index is -100)"),
    "label negative": (loss(targets=with_entry(Y, 5, -1)), sx.LabelError,
        "targets[5] is -1, but there are 10 classes (ignore_index is -100)"),
    "label of two dimensions": (
        loss(Z.reshape(2, 4, 10), with_entry(Y, 6, -1).reshape(2, 4)), sx.LabelError,
        "targets[1, 2] is -1, but there are 10 classes (ignore_index is -100)"),
    "label without a batch axis": (loss(Z[0], 10), sx.LabelError,
        "targets is 10, but there are 10 classes (ignore_index is -100)"),
    "label with another ignore_index": (loss(targets=with_entry(Y, 5, -100), ignore_index=3), sx.LabelError,
        "targets[5] is -100, but there are 10 classes (ignore_index is 3)"),
    "label with nothing ignored": (loss(targets=with_entry(Y, 5, -100), ignore_index=None), sx.LabelError,
        "targets[5] is -100, but there are 10 classes (ignore_index is None)"),
    "label of one class": (loss(Z[:, :1], np.ones(8, int)), sx.LabelError,
        "targets[0] is 1, but there is 1 class (ignore_index is -100)"),
    "label of 2**63": (loss(targets=with_entry(Y.astype(np.uint64), 2, 2**63)), sx.LabelError,
        "targets[2] is 9223372036854775808, but there are 10 classes (ignore_index is -100)"),
    "label of 2**32": (loss(targets=with_entry(Y, 2, 2**32)), sx.LabelError,
        "targets[2] is 4294967296, but there are 10 classes (ignore_index is -100)"),
    "label and eps 1": (loss(targets=with_entry(Y, 5, 10), label_smoothing=1.0), sx.LabelError,
        "targets[5] is 10, but there are 10 classes (ignore_index is -100)"),
    "label of the terms": (terms(targets=with_entry(Y, 5, 10)), sx.LabelError,
        "targets[5] is 10, but there are 10 classes (ignore_index is -100)"),
    # probabilities
    "probability negative": (loss(targets=with_entry(Q, (3, 2), -0.5)), ValueError,
        f"targets[3, 2] is -0.5, {BAD_PROBABILITY}"),
    "probability nan": (loss(targets=with_entry(Q, (0, 9), np.nan)), ValueError,
        f"targets[0, 9] is nan, {BAD_PROBABILITY}"),
    "probability infinite": (loss(targets=with_entry(Q, (7, 0), np.inf)), ValueError,
        f"targets[7, 0] is inf, {BAD_PROBABILITY}"),
    "probability with the classes first": (
        loss(Z.T, with_entry(Q, (3, 2), -0.5).T, axis=0), ValueError, f"targets[2, 3] is -0.5, {BAD_PROBABILITY}"),
    "probability of three dimensions": (
        loss(Z.reshape(2, 4, 10), with_entry(Q, (6, 3), -0.5).reshape(2, 4, 10)), ValueError,
        f"targets[1, 2, 3] is -0.5, {BAD_PROBABILITY}"),
    # shapes
    "integers of the logits' shape": (loss(targets=np.zeros((8, 10), np.int64)), TypeError,
        f"{KINDS_OF_TARGETS} int64 of shape (8, 10)"),
    "floats of the labels' shape": (loss(targets=np.zeros(8, np.float32)), TypeError,
        f"{KINDS_OF_TARGETS} float32 of shape (8,)"),
    "labels too few": (loss(targets=Y[:7]), ValueError,
        "targets must have shape (8,) for logits of shape (8, 10) and axis 1, got (7,)"),
    "labels with the classes first": (loss(Z.T, Y[:7], axis=0), ValueError,
        "targets must have shape (8,) for logits of shape (10, 8) and axis 0, got (7,)"),
    "probabilities too few": (loss(targets=Q[:, :9]), ValueError,
        "targets must have shape (8, 10) for logits of shape (8, 10) and axis 1, got (8, 9)"),
    "no classes": (softmax(np.zeros((8, 0))), ValueError, "logits has 0 classes along axis 1"),
    # axis
    "axis too large": (loss(axis=2), np.exceptions.AxisError, "axis 2 is out of bounds for logits of 2 dimensions"),
    "axis too small": (softmax(axis=-3), np.exceptions.AxisError,
        "axis -3 is out of bounds for logits of 2 dimensions"),
    "no axis at all": (softmax(np.float32(3.0)), np.exceptions.AxisError,
        "axis -1 is out of bounds for logits of 0 dimensions"),
    "axis not an integer": (softmax(axis=1.0), TypeError, "axis must be an integer, got float"),
    "axis a tuple": (softmax(axis=(0, 1)), TypeError, "axis must be an integer, got tuple"),
    "axis None": (softmax(axis=None), TypeError, "axis must be an integer, got NoneType"),
    # options
    "label_smoothing above 1": (loss(label_smoothing=1.5), ValueError, "label_smoothing must be in [0, 1], got 1.5"),
    "label_smoothing below 0": (loss(label_smoothing=-0.1), ValueError,
        "label_smoothing must be in [0, 1], got -0.1"),
    "label_smoothing nan": (loss(label_smoothing=np.nan), ValueError, "label_smoothing must be in [0, 1], got nan"),
    "label_smoothing a string": (loss(label_smoothing="0.1"), TypeError,
        "label_smoothing must be a real number, got str"),
    "label_smoothing None": (loss(label_smoothing=None), TypeError,
        "label_smoothing must be a real number, got NoneType"),
    "reduction unknown": (loss(reduction="avg"), ValueError, 'reduction must be "none", "sum", "mean" or "sum_by_nonzero_weights", got "avg"'),
    "ignore_index not an integer": (loss(ignore_index=1.5), TypeError, "ignore_index must be an integer, got float"),
    "keepdims not a bool": (partial(sx.logsumexp, Z, keepdims="no"), TypeError, "keepdims must be a bool, got str"),
    # prior
    "prior negative": (loss(label_smoothing=0.1, prior=with_entry(U, 3, -0.25)), ValueError,
        f"prior[3] is -0.25, {BAD_PRIOR}"),
    "prior nan": (loss(label_smoothing=0.1, prior=with_entry(U, 9, np.nan)), ValueError,
        f"prior[9] is nan, {BAD_PRIOR}"),
    "prior infinite": (loss(label_smoothing=0.1, prior=with_entry(U, 0, np.inf)), ValueError,
        f"prior[0] is inf, {BAD_PRIOR}"),
    "prior of a row": (loss(label_smoothing=0.1, prior=with_entry(U_ROWS, (6, 3), -0.25)), ValueError,
        f"prior[6, 3] is -0.25, {BAD_PRIOR}"),
    "prior of the terms": (terms(prior=with_entry(U, 3, -0.25)), ValueError, f"prior[3] is -0.25, {BAD_PRIOR}"),
    "prior too short": (loss(prior=U[:9]), ValueError,
        "prior must have shape (10,) or be broadcastable to logits of shape (8, 10), got (9,)"),
    "prior of too many rows": (loss(prior=np.full((7, 10), 0.1)), ValueError,
        "prior must have shape (10,) or be broadcastable to logits of shape (8, 10), got (7, 10)"),
    "prior without classes": (loss(prior=np.full((8, 1), 1.0)), ValueError,
        "prior must have shape (10,) or be broadcastable to logits of shape (8, 10), got (8, 1)"),
    "prior a number": (loss(prior=0.1), ValueError,
        "prior must have shape (10,) or be broadcastable to logits of shape (8, 10), got ()"),
    # outputs
    "out of another shape": (softmax(out=np.zeros((8, 9), np.float32)), ValueError,
        "out must have shape (8, 10), got (8, 9)"),
    "out not an array": (softmax(out=[0.0]), TypeError, "out must be a numpy.ndarray, got list"),
    "out read-only": (softmax(out=read_only(np.zeros((8, 10), np.float32))), ValueError, "out is read-only"),
    "out of integers": (softmax(out=np.zeros((8, 10), np.int64)), TypeError,
        'out has dtype int64, to which float32 cannot be cast under "same_kind"'),
    "out that overlaps itself": (
        softmax(out=np.lib.stride_tricks.as_strided(np.zeros(20, np.float32), (8, 10), (4, 4))), ValueError,
        OVERLAPS_ITSELF),
    "out of one element": (
        softmax(out=np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (8, 10), (0, 0))), ValueError,
        OVERLAPS_ITSELF),
    "out that overlaps itself in part of an element": (
        softmax(out=np.lib.stride_tricks.as_strided(np.zeros(400, np.float32), (8, 10), (40, 3))), ValueError,
        OVERLAPS_ITSELF),
    "out of the losses": (loss(reduction="none", out=np.zeros(7, np.float32)), ValueError,
        "out must have shape (8,), got (7,)"),
    "out of a mean": (loss(out=np.zeros(1)), ValueError, "out must have shape (), got (1,)"),
    "out of a sum": (loss(reduction="sum", out=0.0), TypeError, "out must be a numpy.ndarray, got float"),
    "out of logsumexp": (partial(sx.logsumexp, Z, keepdims=True, out=np.zeros(8, np.float32)), ValueError,
        "out must have shape (8, 1), got (8,)"),
    "grad_out of another shape": (value_and_grad(grad_out=np.zeros((10, 8), np.float32)), ValueError,
        "grad_out must have shape (8, 10), got (10, 8)"),
    "grad_out not an array": (value_and_grad(grad_out=Z.tolist()), TypeError,
        "grad_out must be a numpy.ndarray, got list"),
    "grad_out read-only": (value_and_grad(grad_out=read_only(Z.copy())), ValueError, "grad_out is read-only"),
    "grad_out of integers": (value_and_grad(grad_out=np.zeros((8, 10), np.int32)), TypeError,
        'grad_out has dtype int32, to which float32 cannot be cast under "same_kind"'),
    "grad_out that overlaps itself": (
        value_and_grad(grad_out=np.lib.stride_tricks.as_strided(np.zeros(20, np.float32), (8, 10), (4, 4))),
        ValueError, f"grad_{OVERLAPS_ITSELF}"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_text(name):
    call, exception, text = CASES[name]
    with pytest.raises(exception) as caught:
        call()
    assert str(caught.value) == text
    assert type(caught.value) is exception


LOSS_CASES = [name for name, (call, *_) in CASES.items() if call.func is sx.cross_entropy]


@pytest.mark.parametrize("name", LOSS_CASES)
def test_text_of_the_loss_with_gradient(name):
    """The same arguments to cross_entropy_value_and_grad give the same error."""
    call, exception, text = CASES[name]
    with pytest.raises(exception, match=f"^{re.escape(text)}$"):
        sx.cross_entropy_value_and_grad(*call.args, **call.keywords)


class TestPriorSum:
    """A prior sums to 1 within 1e-6 max(1, sqrt(K)); it is never renormalised."""

    @pytest.mark.parametrize("total", [1.2, 0.8, 0.0, 2.0, 1 + 4e-6, 1 - 4e-6])
    @pytest.mark.parametrize("classes", [2, 10])
    def test_refused(self, total, classes):
        u = np.full(classes, total / classes)
        with pytest.raises(
            ValueError,
            match=r"^prior sums to .*, expected 1 within .* \(it is never renormalised\)$",
        ) as e:
            sx.cross_entropy(np.zeros((1, classes)), [0], label_smoothing=0.1, prior=u)
        shown, tolerance = re.fullmatch(
            r"prior sums to (\S+), expected 1 within (\S+) .*", str(e.value)
        ).groups()
        assert float(shown) == pytest.approx(total, rel=1e-5)
        assert float(tolerance) == pytest.approx(1e-6 * np.sqrt(classes), rel=1e-2)

    def test_one_row_of_many(self):
        u = U_ROWS.copy()
        u[[3, 5], 0] = 0.3
        with pytest.raises(ValueError, match=r"^prior\[3(, :)?\] sums to 1.2"):
            sx.cross_entropy(Z, Y, label_smoothing=0.1, prior=u)

    @pytest.mark.parametrize("classes", [1, 10, 10000])
    def test_edges_of_the_tolerance(self, classes):
        within = 0.99e-6 * np.sqrt(classes)
        for total in (1 - within, 1.0, 1 + within):
            u = np.full(classes, total / classes)
            assert np.isfinite(
                sx.cross_entropy(np.zeros((1, classes)), [0], label_smoothing=0.1, prior=u)
            )
        for total in (1 - 1.02 * within, 1 + 1.02 * within):
            with pytest.raises(ValueError, match="^prior sums to "):
                sx.cross_entropy(
                    np.zeros((1, classes)),
                    [0],
                    label_smoothing=0.1,
                    prior=np.full(classes, total / classes),
                )

    def test_float32_priors_of_many_classes_are_accepted(self):
        rng = np.random.default_rng(1)
        for classes in (1000, 100_000):
            u = rng.exponential(size=classes).astype(np.float32)
            u /= u.sum()
            assert np.isfinite(
                sx.cross_entropy(np.zeros((1, classes)), [0], label_smoothing=0.1, prior=u)
            )


class TestSignatures:
    def test_arrays_are_positional_only(self):
        for call in (sx.softmax, sx.log_softmax, sx.logsumexp):
            with pytest.raises(TypeError):
                call(logits=Z)
        for call in (sx.cross_entropy, sx.cross_entropy_value_and_grad, sx.cross_entropy_terms):
            with pytest.raises(TypeError):
                call(Z, targets=Y)

    def test_options_are_keyword_only(self):
        for call in (
            lambda: sx.softmax(Z, 1),
            lambda: sx.logsumexp(Z, 1),
            lambda: sx.cross_entropy(Z, Y, 0.1),
        ):
            with pytest.raises(TypeError):
                call()

    def test_label_error_is_a_value_error_and_an_index_error(self):
        assert issubclass(sx.LabelError, ValueError)
        assert issubclass(sx.LabelError, IndexError)
        assert issubclass(sx.InternalError, RuntimeError)
        assert issubclass(np.exceptions.AxisError, ValueError)


class TestNothingIsWritten:
    """`out`, `grad_out` and logits given as `grad_out` keep their bytes on every error of an argument."""

    FAULTS = (
        {"targets": with_entry(Y, 7, 10)},
        {"targets": with_entry(Q, (7, 9), -1)},
        {"targets": Y[:7]},
        {"targets": Y.astype(float)},
        {"label_smoothing": 1.5},
        {"label_smoothing": 0.1, "prior": with_entry(U, 9, 0.3)},
        {"label_smoothing": 0.1, "prior": with_entry(U_ROWS, (7, 9), -1)},
        {"reduction": "avg"},
        {"axis": 2},
        {"ignore_index": "none"},
    )

    @pytest.mark.parametrize("dtype", FLOATS)
    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: " ".join(fault))
    def test_wrong_argument(self, dtype, fault):
        options = {"targets": Y, "reduction": "none"} | fault
        targets = options.pop("targets")
        out, grad_out = np.full(8, 7, dtype), np.full((8, 10), 7, dtype)
        with pytest.raises((TypeError, ValueError)):
            sx.cross_entropy_value_and_grad(Z, targets, out=out, grad_out=grad_out, **options)
        with pytest.raises((TypeError, ValueError)):
            sx.cross_entropy(Z, targets, out=out, **options)
        assert (out == 7).all()
        assert (grad_out == 7).all()
        logits = Z.astype(dtype)
        with pytest.raises((TypeError, ValueError)):
            sx.cross_entropy_value_and_grad(logits, targets, grad_out=logits, **options)
        assert (logits == Z.astype(dtype)).all()

    def test_one_wrong_output_leaves_the_other(self):
        out, grad_out = np.full(8, 7, np.float32), np.full((8, 10), 7, np.float32)
        with pytest.raises(ValueError, match="^grad_out must have shape"):
            sx.cross_entropy_value_and_grad(Z, Y, reduction="none", out=out, grad_out=grad_out.T)
        with pytest.raises(ValueError, match="^out must have shape"):
            sx.cross_entropy_value_and_grad(Z, Y, reduction="none", out=out[:7], grad_out=grad_out)
        with pytest.raises(ValueError, match="^out must have shape"):
            sx.cross_entropy_value_and_grad(Z, Y, out=out, grad_out=grad_out)
        assert (out == 7).all()
        assert (grad_out == 7).all()


class TestLowestBadRow:
    @pytest.mark.parametrize("classes", [1, 3, 300])
    def test_of_many_labels(self, classes):
        rng = np.random.default_rng(classes)
        z = np.zeros((500, classes), np.float32)
        for _ in range(20):
            rows = rng.choice(500, 3, replace=False)
            labels = np.zeros(500, np.int64)
            labels[rows] = rng.choice([-1, classes, 2**40, -(2**63)], 3)
            first = rows.min()
            with pytest.raises(
                sx.LabelError, match=rf"^targets\[{first}\] is {labels[first]}, but "
            ):
                sx.cross_entropy(z, labels)

    def test_of_many_probabilities(self):
        q = with_entry(with_entry(Q, (2, 7), -1), (5, 0), -2)
        with pytest.raises(ValueError, match=r"^targets\[2, 7\] is -1.0, "):
            sx.cross_entropy(Z, q)
        with pytest.raises(ValueError, match=r"^targets\[7, 2\] is -1.0, "):
            sx.cross_entropy(Z.T, q.T, axis=0)

    def test_in_the_order_of_the_rows_whatever_the_layout(self):
        z = np.zeros((3, 4, 5))
        labels = np.zeros((3, 4), np.int64)
        labels[2, 0], labels[0, 3] = 7, 8
        for turned in (labels, labels.copy(order="F"), labels[::-1][::-1]):
            with pytest.raises(sx.LabelError, match=r"^targets\[0, 3\] is 8, "):
                sx.cross_entropy(z, turned)

    @pytest.mark.parametrize("dtype", LABEL_DTYPES)
    def test_ends_of_every_integer_type(self, dtype):
        for value in (np.iinfo(dtype).max, np.iinfo(dtype).min or 5):
            with pytest.raises(
                sx.LabelError, match=rf"^targets\[1\] is {value}, but there are 5 classes "
            ):
                sx.cross_entropy(np.zeros((2, 5)), np.array([0, value], dtype))
