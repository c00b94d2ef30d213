"""The dtypes that arguments may have, and those of the results."""

import itertools
import pickle

import ml_dtypes
import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from problems import FLOATS, LABEL_DTYPES, one_hot, problem
from ulp import assert_same_bits, assert_within

every_float = pytest.mark.parametrize("dtype", FLOATS)


def everything(z, labels, **options):
    """All the results, in a fixed order."""
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, reduction="none", **options)
    return (
        sx.softmax(z),
        sx.log_softmax(z),
        sx.logsumexp(z),
        loss,
        grad,
        *sx.cross_entropy_terms(z, labels),
    )


def assert_all_same(got, expected):
    for one, other in zip(got, expected, strict=True):
        assert_same_bits(one, other)


class TestLogits:
    @every_float
    def test_results_have_the_dtype_of_the_logits(self, dtype):
        z, labels, _ = problem(10, dtype)
        for result in everything(z, labels):
            assert type(result) is np.ndarray
            assert result.dtype == dtype

    @pytest.mark.parametrize(
        "dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64", "bool"]
    )
    def test_integers_and_bools_become_float64(self, dtype):
        z = (
            (problem(10).logits > 1).astype(dtype)
            if dtype == "bool"
            else np.abs(problem(10).logits).astype(dtype)
        )
        labels = problem(10).labels
        assert_all_same(everything(z, labels), everything(z.astype(np.float64), labels))

    @every_float
    def test_other_byte_order(self, dtype):
        z, labels, u = problem(33, dtype)
        swapped = z.astype(z.dtype.newbyteorder())
        assert not swapped.dtype.isnative
        assert_all_same(everything(swapped, labels), everything(z, labels))
        q = one_hot(labels, 33, dtype)
        options = {"label_smoothing": 0.1, "reduction": "none"}
        expected = sx.cross_entropy(z, labels, prior=u, **options)
        assert_same_bits(
            sx.cross_entropy(z, q.astype(q.dtype.newbyteorder()), prior=u, **options), expected
        )
        assert_same_bits(
            sx.cross_entropy(z, labels, prior=u.astype(u.dtype.newbyteorder()), **options), expected
        )

    @every_float
    def test_subclasses_are_read_as_plain_arrays(self, dtype):
        class Tagged(np.ndarray):
            def __array_ufunc__(self, *args, **kwargs):
                raise AssertionError("no ufunc of a subclass is called")

        z, labels, _ = problem(10, dtype)
        for got in everything(z.view(Tagged), labels.view(Tagged)):
            assert type(got) is np.ndarray
        assert_all_same(everything(z.view(Tagged), labels.view(Tagged)), everything(z, labels))
        assert_all_same(everything(np.ma.array(z), labels), everything(z, labels))

    def test_float_types_that_are_not_supported(self):
        z = np.ones((2, 3), np.longdouble)
        for call in (
            sx.softmax,
            sx.log_softmax,
            sx.logsumexp,
            lambda x: sx.cross_entropy(x, [0, 1]),
        ):
            with pytest.raises(
                TypeError, match=rf"^logits has dtype {z.dtype}, expected float16, "
            ):
                call(z)
        with pytest.raises(TypeError, match=rf"^targets has dtype {z.dtype}, expected integer "):
            sx.cross_entropy(np.ones((2, 3)), z)


class TestTargets:
    @pytest.mark.parametrize("dtype", LABEL_DTYPES)
    @pytest.mark.parametrize("ignored", [None, -100, 200, 3])
    def test_every_integer_type_gives_the_same_bits(self, dtype, ignored):
        z = problem(100).logits
        labels = np.array([5, 99, 0, 3, 42, 3, 7])
        expected = sx.cross_entropy_value_and_grad(
            z, labels, ignore_index=ignored, reduction="none"
        )
        for order in "<>":
            typed = labels.astype(np.dtype(dtype).newbyteorder(order))
            got = sx.cross_entropy_value_and_grad(z, typed, ignore_index=ignored, reduction="none")
            assert_all_same(got, expected)

    @pytest.mark.parametrize("dtype", LABEL_DTYPES)
    def test_every_integer_type_in_chunks_of_rows(self, dtype):
        z, layer = problem(10, np.float64, rows=3).logits, np.eye(10)
        ignored, options = np.iinfo(dtype).max, {"class_weight": np.arange(10.0)}
        expected = sx.cross_entropy(z, [5, -100, 9], **options)
        for order in "<>":
            labels = np.array([5, ignored, 9], np.dtype(dtype).newbyteorder(order))
            for loss in (
                sx.score(z, labels, ignore_index=ignored, **options).loss,
                sx.linear_cross_entropy(z, layer, labels, ignore_index=ignored, **options),
            ):
                assert loss == pytest.approx(expected, rel=1e-14)

    def test_ignore_index_of_the_ends_of_the_integers(self):
        z = problem(10, rows=2).logits
        for dtype, ignored in (
            ("uint64", 2**64 - 1),
            ("int64", -(2**63)),
            ("uint8", 255),
            ("int8", -128),
        ):
            loss = sx.cross_entropy(
                z, np.array([ignored, 3], dtype), ignore_index=ignored, reduction="none"
            )
            assert loss[0] == 0
            assert loss[1] > 0

    def test_ignore_index_does_not_wrap_into_the_labels_type(self):
        """-100 as uint8 is 156, which is a class here."""
        z = problem(200, rows=2).logits
        loss = sx.cross_entropy(z, np.array([156, 0], np.uint8), reduction="none")
        assert (loss > 0).all()

    @every_float
    def test_probabilities_of_either_type(self, dtype):
        z = problem(10, dtype).logits
        q = np.array([0.5, 0.25, 0.25, 0, 0, 0, 0, 0, 0, 0], np.float32) + np.zeros(
            (7, 1), np.float32
        )
        got = [
            sx.cross_entropy_value_and_grad(z, q.astype(t), label_smoothing=0.1, reduction="none")
            for t in FLOATS
        ]
        assert_all_same(got[0], got[1])


class TestPriorAndSmoothing:
    @every_float
    def test_integers_and_lists_as_a_prior(self, dtype):
        z, labels, _ = problem(4, dtype)
        options = {"label_smoothing": 0.1, "reduction": "none"}
        expected = sx.cross_entropy(z, labels, prior=np.array([0.0, 1.0, 0.0, 0.0]), **options)
        for prior in (
            [0, 1, 0, 0],
            np.array([0, 1, 0, 0]),
            np.array([False, True, False, False]),
            (0.0, 1.0, 0.0, 0),
        ):
            assert_same_bits(sx.cross_entropy(z, labels, prior=prior, **options), expected)

    def test_a_float64_prior_keeps_its_digits_beside_float32_logits(self):
        """u_0 differs from 1 by 1e-9: in float32 it would be 1, and the loss of the other class 0."""
        z = np.array([[0, -1e9]], np.float32)
        u = [1 - 1e-9, 1e-9]
        loss = sx.cross_entropy(z, [0], label_smoothing=1.0, prior=u, reduction="none")
        assert_within(ulp.LOSS, loss, reference.cross_entropy(z, [0], 1.0, u))

    @every_float
    def test_label_smoothing_may_be_any_real_number(self, dtype):
        z, labels, _ = problem(4, dtype)
        for one, other in (
            (0.5, np.float32(0.5)),
            (0.5, np.float64(0.5)),
            (0.5, np.array(0.5)),
            (1.0, 1),
            (0.0, 0),
        ):
            same = [sx.cross_entropy(z, labels, label_smoothing=eps) for eps in (one, other)]
            assert same[0] == same[1]


def bound_of(operation):
    return ulp.SOFTMAX if operation is sx.softmax else ulp.LOG_SOFTMAX


@pytest.mark.parametrize(
    "operation, exact", [(sx.softmax, reference.softmax), (sx.log_softmax, reference.log_softmax)]
)
class TestDtypeOfTheResult:
    @pytest.mark.parametrize(
        "logits_dtype, result_dtype", list(itertools.product(FLOATS, repeat=2))
    )
    def test_computed_in_the_wider_type_and_rounded_once(
        self, operation, exact, logits_dtype, result_dtype
    ):
        z = problem(33, logits_dtype).logits
        for spelling in (result_dtype, np.dtype(result_dtype), np.dtype(result_dtype).name):
            result = operation(z, dtype=spelling)
            assert result.dtype == result_dtype
            assert_within(bound_of(operation), result, exact(z))
        if logits_dtype == np.float32 and result_dtype == np.float64:
            assert_same_bits(result, operation(z.astype(np.float64)))
        if logits_dtype == np.float64 and result_dtype == np.float32:
            assert_same_bits(result, operation(z).astype(np.float32))
        if logits_dtype == result_dtype:
            assert_same_bits(result, operation(z))

    def test_it_is_the_own_dtype_of_numpy(self, operation, exact):
        z = problem(5, np.float32).logits
        with_metadata = np.dtype("f4", metadata={"x": 1})
        with_fields = np.dtype(("f8", [("a", "f4"), ("b", "f4")]))
        for dtype in (with_metadata, with_fields, pickle.loads(pickle.dumps(np.dtype("f8")))):
            result = operation(z, dtype=dtype)
            assert result.dtype is np.dtype(dtype.str)
        assert operation(z.view(with_metadata)).dtype is np.dtype(np.float32)

    @pytest.mark.filterwarnings("ignore:Setting the dtype:DeprecationWarning")  # NumPy 2.5
    def test_it_is_that_of_the_logits_when_they_were_checked(self, operation, exact):
        z = problem(5, ml_dtypes.bfloat16).logits
        expected = operation(z, temperature=2.0)

        class Temperature:
            def __float__(self):
                z.dtype = "u2"
                return 2.0

        assert_same_bits(operation(z, temperature=Temperature()), expected)

    def test_out_of_the_narrower_type_is_the_rounded_result(self, operation, exact):
        z = problem(33, np.float64).logits
        out = np.empty(z.shape, np.float32)
        assert operation(z, out=out) is out
        assert_same_bits(out, operation(z).astype(np.float32))

    def test_out_of_the_wider_type(self, operation, exact):
        z = problem(33, np.float32).logits
        out = np.empty(z.shape, np.float64)
        assert operation(z, out=out) is out
        assert_within(bound_of(operation), out.astype(np.float32), exact(z))
        assert operation(z, dtype=np.float64, out=out) is out
        assert_same_bits(out, operation(z, dtype=np.float64))
        assert operation(z, dtype=np.float16, out=out) is out
        assert_same_bits(out, operation(z, dtype=np.float16).astype(np.float64))

    @pytest.mark.parametrize("dtype", ["int32", "longdouble"])
    def test_other_types(self, operation, exact, dtype):
        with pytest.raises(
            TypeError, match="^dtype must be float16, bfloat16, float32 or float64, "
        ):
            operation(problem(3).logits, dtype=dtype)


class TestOutOfTheLosses:
    @pytest.mark.parametrize(
        "logits_dtype, out_dtype, grad_dtype", list(itertools.product(FLOATS, repeat=3))
    )
    def test_same_kind_of_number(self, logits_dtype, out_dtype, grad_dtype):
        z, labels, _ = problem(33, logits_dtype)
        out, grad_out = np.empty(7, out_dtype), np.empty(z.shape, grad_dtype)
        value, grad = sx.cross_entropy_value_and_grad(
            z, labels, label_smoothing=0.1, reduction="none", out=out, grad_out=grad_out
        )
        assert value is out
        assert grad is grad_out
        expected = sx.cross_entropy_value_and_grad(z, labels, label_smoothing=0.1, reduction="none")
        # Also rounded to the type of the logits if the output is wider.
        assert_same_bits(out, expected[0].astype(out_dtype))
        assert_same_bits(grad_out, expected[1].astype(grad_dtype))
        lse = np.empty(7, out_dtype)
        assert sx.logsumexp(z, out=lse) is lse
        assert_same_bits(lse, sx.logsumexp(z).astype(out_dtype))
