"""What is an error, and what happens then: nothing is written, and the lowest bad row is reported.

The texts of errors are in error_texts.txt.
"""

import copy
import pickle
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


U = [0.1] * 10
U_ROWS = np.full((8, 10), 0.1)


@pytest.mark.parametrize("function", [sx.cross_entropy, sx.cross_entropy_value_and_grad, sx.score])
@pytest.mark.parametrize("weight", [np.ones(10), None])
def test_a_keyword_of_other_libraries(function, weight):
    """Together with valid options, and for any value; misspelled names are left to Python."""
    with pytest.raises(TypeError) as caught:
        function(Z, Y, label_smoothing=0.1, weight=weight)
    error = f"{function.__name__}() got an unexpected keyword argument"
    assert str(caught.value) == f"{error} 'weight': class_weight weighs classes, sample_weight rows"
    with pytest.raises(TypeError, match=f"^{re.escape(error)} 'weigth'"):
        function(Z, Y, weigth=weight)


@pytest.mark.parametrize(
    "wrong", [{"z_loss": "0"}, {"label_smoothing": "0"}, {"log_probs_out": np.zeros(Z.shape, int)}]
)
@pytest.mark.parametrize("writes", [False, True])
def test_a_score_refuses_wrong_types_before_it_writes(wrong, writes):
    grad = np.full_like(Z, 7)
    with pytest.raises(TypeError):
        sx.score(Z, Y, grad_out=grad if writes else None, **wrong)
    assert (grad == 7).all()


class TestPriorSum:
    """A prior sums to 1 within 1e-6 max(1, sqrt(K)); it is used as given."""

    @pytest.mark.parametrize("total", [1.2, 0.8, 0.0, 2.0, 1 + 4e-6, 1 - 4e-6])
    @pytest.mark.parametrize("classes", [2, 10])
    def test_refused(self, total, classes):
        u = np.full(classes, total / classes)
        with pytest.raises(
            ValueError,
            match=r"^prior sums to .*, expected 1 within .* \(it is used as given: ",
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
    def test_arrays_by_keyword(self):
        """Each function gives the same result as by position."""
        calls = {
            sx.softmax: {"logits": Z},
            sx.log_softmax: {"logits": Z},
            sx.logsumexp: {"logits": Z},
            sx.top_k_log_softmax: {"logits": Z, "k": 2},
            sx.log_softmax_at: {"logits": Z, "indices": Y[:, np.newaxis]},
            sx.cross_entropy: {"logits": Z, "targets": Y},
            sx.cross_entropy_value_and_grad: {"logits": Z, "targets": Y},
            sx.cross_entropy_terms: {"logits": Z, "targets": Y},
            sx.class_prior: {"targets": Y, "num_classes": 10},
            partial(sx.smooth_labels, label_smoothing=0.1): {"targets": Y, "num_classes": 10},
            partial(sx.label_dropout, rate=0.5, rng=0, prior=U): {"targets": Y, "num_classes": 10},
        }
        for call, arrays in calls.items():
            np.testing.assert_equal(call(**arrays), call(*arrays.values()))

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

    def test_an_axis_error_has_the_attributes_of_numpy(self):
        for call in (
            lambda: sx.softmax(np.zeros((2, 3)), axis=5),
            lambda: sx.smooth_labels([0, 1], 3, label_smoothing=0.1, axis=5),
        ):
            with pytest.raises(np.exceptions.AxisError) as caught:
                call()
            assert (caught.value.axis, caught.value.ndim) == (5, 2)


class TestLabelError:
    """`index` is the place in the targets as they were given, `value` the label there."""

    LABELS = np.arange(24).reshape(2, 3, 4) % 5

    CALLS = (
        lambda labels: sx.cross_entropy(np.zeros((2, 3, 4, 5)), labels),
        lambda labels: sx.cross_entropy(np.zeros((2, 5, 3, 4)), labels, axis=1),
        lambda labels: sx.cross_entropy_value_and_grad(np.zeros((5, 2, 3, 4)), labels, axis=0),
        lambda labels: sx.cross_entropy_terms(np.zeros((2, 3, 4, 5)), labels),
        lambda labels: sx.log_softmax_at(np.zeros((2, 3, 5)), labels),
        lambda labels: sx.smooth_labels(labels, 5, label_smoothing=0.1),
        lambda labels: sx.label_dropout(labels, 5, rate=0.5),
        lambda labels: sx.class_prior(labels, 5),
        lambda labels: sx.score(np.zeros((2, 3, 4, 5)), labels, chunk_rows=1),
        lambda labels: sx.tf_losses.sparse_softmax_cross_entropy(labels, np.zeros((2, 3, 4, 5))),
    )

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize(
        "dtype, value", [("int8", -3), ("int64", -(2**63)), ("uint64", 2**64 - 1), (">i2", 5)]
    )
    def test_index_and_value(self, call, dtype, value):
        labels = self.LABELS.astype(dtype)
        labels[1, 2, 1] = value
        with pytest.raises(sx.LabelError) as caught:
            call(labels)
        error = caught.value
        assert (error.index, error.value) == ((1, 2, 1), value)
        assert {type(number) for number in (*error.index, error.value)} == {int}
        assert f"[1, 2, 1] is {value}, but" in str(error)
        assert error.args == (str(error),)

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("value", [2**63, 2**64, -(2**70)])
    def test_integers_in_lists_of_more_than_64_bits(self, call, value):
        """NumPy makes floats or objects of them."""
        labels = (self.LABELS - self.LABELS - 1).tolist()
        labels[1][2][1] = value
        with pytest.raises(sx.LabelError) as caught:
            call(labels)
        assert (caught.value.index, caught.value.value) == ((1, 2, 1), value)

    def test_of_a_single_label(self):
        for call in (
            lambda: sx.cross_entropy(Z[0], 10),
            lambda: sx.smooth_labels(10, 10, label_smoothing=0.1),
        ):
            with pytest.raises(sx.LabelError) as caught:
                call()
            assert (caught.value.index, caught.value.value) == ((), 10)

    def test_pickles_and_copies(self):
        with pytest.raises(sx.LabelError) as caught:
            sx.cross_entropy(Z, Y + 8)
        error = caught.value
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(again) is sx.LabelError
            assert (str(again), again.index, again.value) == (str(error), (2,), int(Y[2]) + 8)


class TestPriorWithoutSmoothing:
    def test_is_refused(self):
        for function in (sx.cross_entropy, sx.cross_entropy_value_and_grad):
            for options in ({}, {"label_smoothing": None}):
                with pytest.raises(TypeError, match="^prior is given without label_smoothing; "):
                    function(Z, Y, prior=U, **options)

    def test_an_explicit_zero_is_not(self):
        for zero in (0, 0.0, -0.0, np.float32(0)):
            loss = sx.cross_entropy(Z, Y, label_smoothing=zero, prior=with_entry(U, 3, np.nan))
            assert loss == sx.cross_entropy(Z, Y) == sx.cross_entropy(Z, Y, label_smoothing=None)

    def test_terms_and_a_score_take_it_alone(self):
        terms = sx.cross_entropy_terms(Z, Y, prior=U)
        score = sx.score(Z, Y, prior=U)
        assert score.loss == sx.score(Z, Y).loss
        assert score.prior_kl == pytest.approx(terms.prior_kl.mean(), rel=1e-6)
        given = {"prior": U, "grad_out": np.zeros_like(Z)}
        assert sx.score(Z, Y, **given) == sx.score(Z, Y, label_smoothing=0.0, **given)


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


MASK_OF_ROW_3 = (np.arange(8)[:, None] != 3) | np.isin(np.arange(10), [4, 5])


def test_masked_rows_do_not_need_a_prior():
    """A prior without mass is an error only where it would be used."""
    options = {"prior": np.eye(10)[2], "where": MASK_OF_ROW_3, "reduction": "none"}
    ignored = np.where(Y == 3, -100, Y)
    assert sx.cross_entropy(Z, ignored, label_smoothing=0.1, **options)[3] == 0
    weight = (Y != 3).astype(float)
    assert sx.cross_entropy(Z, Y, label_smoothing=0.1, sample_weight=weight, **options)[3] == 0
    assert sx.cross_entropy(Z, Y, label_smoothing=0.0, **options)[3] == np.inf


def test_label_is_checked_in_rows_that_do_not_count():
    bad = np.where(Y == 3, 10, Y)
    for options in ({"sample_weight": (Y != 3).astype(float)}, {"where": (Y != 3)[:, None]}):
        with pytest.raises(sx.LabelError, match=r"^targets\[3\] is 10, "):
            sx.cross_entropy(Z, bad, **options)
