"""smoothxent.dask: the bits of one machine for chunks of rows and of segments, nearly the same for others."""

import dask
import dask.array as da
import ml_dtypes
import numpy as np
import pytest
from dask_problems import (
    ACTIVATIONS,
    BLOCK,
    REDUCTIONS,
    ROWS,
    SEGMENT,
    TWO,
    both,
    five_kinds,
    problem,
    smoothings,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
import smoothxent as sx
import smoothxent.dask as sxd
from problems import ROW_KINDS, STORED
from ulp import (
    LOGSUMEXP,
    LOSS_OF_ANY,
    SOFTMAX_OF_ANY,
    assert_same_bits,
    assert_within,
    stored,
    ulp_error,
)

RARELY = 1e-3  # the share of probabilities; other blocks of classes would change 1 in 25


@pytest.fixture(autouse=True)
def threads():
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


class TestSameBits:
    """As on one machine: chunks of whole rows, of whole segments, and any chunks if a block has all classes."""

    CHUNKS = (
        pytest.param(10, (2, -1), id="few classes"),
        pytest.param(10, (3, (1, 0, 2, 7)), id="few classes in chunks"),
        pytest.param(BLOCK, (-1, 13), id="a block in chunks"),
        pytest.param(1000, ((4, 1, 2), -1), id="rows"),
        pytest.param(40000, (3, -1), id="long rows"),
        pytest.param(40000, (-1, SEGMENT), id="classes"),
        pytest.param(40000, (3, (2 * SEGMENT, 7232)), id="rows and classes"),
        pytest.param(70001, (2, (SEGMENT, 3 * SEGMENT, 70001 - 4 * SEGMENT)), id="uneven"),
    )

    @pytest.mark.parametrize("classes, chunks", CHUNKS)
    @pytest.mark.parametrize("dtype", STORED, ids=str)
    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_of_activations(self, name, dtype, classes, chunks):
        logits, labels, _ = problem(classes, dtype)
        z, _ = both(logits, labels, chunks)
        result = getattr(sxd, name)(z)
        assert result.dtype == dtype
        assert_same_bits(result.compute(), getattr(sx, name)(logits))

    @pytest.mark.parametrize("classes, chunks", CHUNKS)
    @pytest.mark.parametrize("dtype", STORED, ids=str)
    def test_of_the_loss(self, dtype, classes, chunks):
        logits, labels, prior = problem(classes, dtype)
        z, y = both(logits, labels, chunks)
        for options in smoothings(prior):
            for reduction in REDUCTIONS:
                loss = sxd.cross_entropy(z, y, reduction=reduction, **options)
                expected = sx.cross_entropy(logits, labels, reduction=reduction, **options)
                assert loss.dtype == np.asarray(expected).dtype
                assert_same_bits(loss.compute(), np.asarray(expected))

    @pytest.mark.parametrize("axis", [0, 1, 2, -2])
    @pytest.mark.parametrize("classes", [SEGMENT, -1])
    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_of_any_axis(self, name, classes, axis):
        logits = np.moveaxis(problem(40000)[0].reshape(ROWS, 1, -1), -1, axis)
        chunks = [4, 1, 4]
        chunks[axis] = classes
        z = da.from_array(logits, chunks=tuple(chunks))
        result = getattr(sxd, name)(z, axis=axis)
        assert_same_bits(result.compute(), getattr(sx, name)(logits, axis=axis))

    def test_of_rows_with_several_axes(self):
        logits, labels, prior = problem(40000, rows=12)
        logits, labels = logits.reshape(2, 3, 2, -1), labels.reshape(2, 3, 2)
        z = da.from_array(logits, chunks=(1, 2, 2, SEGMENT))
        y = da.from_array(labels, chunks=(1, 2, 2))
        for reduction in REDUCTIONS:
            options = {"label_smoothing": 0.2, "prior": prior, "reduction": reduction}
            loss = sxd.cross_entropy(z, y, **options).compute()
            assert_same_bits(loss, np.asarray(sx.cross_entropy(logits, labels, **options)))

    def test_of_keepdims_integers_and_label_types(self):
        logits = np.random.default_rng(0).integers(-9, 9, (ROWS, 40000))
        z = da.from_array(logits, chunks=(3, SEGMENT))
        result = sxd.logsumexp(z, keepdims=True)
        assert result.shape == (ROWS, 1)
        assert_same_bits(result.compute(), sx.logsumexp(logits, keepdims=True))
        labels = np.arange(ROWS, dtype=np.uint8)
        y = da.from_array(labels, chunks=3)
        loss = sxd.cross_entropy(z, y, ignore_index=3, reduction="none").compute()
        expected = sx.cross_entropy(logits, labels, ignore_index=3, reduction="none")
        assert_same_bits(loss, expected)
        everything = sxd.cross_entropy(z, y, ignore_index=None).compute()
        assert_same_bits(
            everything, np.asarray(sx.cross_entropy(logits, labels, ignore_index=None))
        )

    def test_of_no_rows_and_of_rows_that_are_all_ignored(self):
        logits = np.zeros((4, 40000), np.float32)
        for rows in (0, 4):
            z = da.from_array(logits[:rows], chunks=(2, SEGMENT))
            y = da.from_array(np.full(rows, -100), chunks=2)
            for reduction in REDUCTIONS:
                loss = sxd.cross_entropy(z, y, reduction=reduction).compute()
                expected = sx.cross_entropy(logits[:rows], np.full(rows, -100), reduction=reduction)
                assert_same_bits(loss, np.asarray(expected))

    def test_of_chunks_that_are_empty(self):
        logits, labels, prior = problem(40000)
        chunks = ((3, 0, 4), (SEGMENT, 0, 40000 - SEGMENT))
        z, y = both(logits, labels, chunks)
        options = {"label_smoothing": 0.1, "prior": prior}
        loss = sxd.cross_entropy(z, y, **options).compute()
        assert_same_bits(loss, np.asarray(sx.cross_entropy(logits, labels, **options)))
        assert_same_bits(sxd.softmax(z).compute(), sx.softmax(logits))

    @pytest.mark.parametrize("dtype", [np.int8, np.bool_, ">f4"])
    def test_an_empty_chunk_has_the_type_of_the_results(self, dtype):
        logits = np.random.default_rng(0).integers(0, 9, (ROWS, 100)).astype(dtype)
        z = da.from_array(logits, chunks=((3, 4), (0, 64, 36)))
        for name in ACTIVATIONS:
            result = getattr(sxd, name)(z)
            blocks = result.to_delayed().ravel().tolist()
            assert {block.dtype for block in dask.compute(*blocks)} == {result.dtype}
            assert_same_bits(result.compute(), getattr(sx, name)(logits))


def assert_within_two_ulp(logits, labels, prior, chunks):
    """All functions, with each smoothing, beside one machine."""
    z, y = both(logits, labels, chunks)
    for name in ACTIVATIONS:
        assert_within(TWO, getattr(sxd, name)(z).compute(), getattr(sx, name)(logits))
    for options in smoothings(prior):
        loss = sxd.cross_entropy(z, y, reduction="none", **options).compute()
        assert_within(TWO, loss, sx.cross_entropy(logits, labels, reduction="none", **options))


class TestOtherChunks:
    """Classes are summed in another order than on one machine."""

    CHUNKS = (
        pytest.param(65, (1, 63, 1), id="a block and a class"),
        pytest.param(65, 7, id="many in a block"),
        pytest.param(70, 1, id="one by one"),
        pytest.param(200, BLOCK, id="blocks"),
        pytest.param(1000, (0, 100, 0, 0, 1, 400, 3, 2, 494, 0), id="empty and uneven"),
        pytest.param(1000, 31, id="small"),
        pytest.param(5000, (BLOCK + 1, 2 * BLOCK - 1, 5000 - 3 * BLOCK), id="beside blocks"),
        pytest.param(40000, 100 * BLOCK, id="many blocks"),
        pytest.param(40000, (SEGMENT + 1, SEGMENT - 2, 40001 - 2 * SEGMENT), id="beside segments"),
        pytest.param(40000, 9999, id="large"),
    )

    @pytest.mark.parametrize("classes, chunk", CHUNKS)
    @pytest.mark.parametrize("dtype", STORED, ids=str)
    def test_any_are_within_two_ulp_of_one_machine(self, dtype, classes, chunk):
        rows = ROWS if classes < SEGMENT else 2
        assert_within_two_ulp(*five_kinds(classes, dtype, rows), (-1, chunk))

    def test_of_many_rows_few_differ_from_one_machine(self):
        """Sums differ in the last bits of doubles, which rarely changes a float32 result."""
        logits, _ = ROW_KINDS["ordinary"](np.random.default_rng(0), rows=6153, classes=65)
        logits = logits.astype(np.float32)
        p = sxd.softmax(da.from_array(logits, chunks=(-1, 7))).compute()
        expected = sx.softmax(logits)
        assert_within(TWO, p, expected)
        assert np.mean(p != expected) < RARELY

    @settings(max_examples=20)
    @given(
        st.integers(2, 400),
        st.lists(st.floats(0, 1), min_size=1, max_size=12),
        st.sampled_from(STORED),
    )
    def test_chunks_cut_anywhere_are_within_two_ulp_of_one_machine(self, classes, places, dtype):
        cuts = np.array([0, *sorted(places), 1]) * classes
        chunks = tuple(np.diff(cuts.astype(int)).tolist())
        assert_within_two_ulp(*five_kinds(classes, dtype, ROWS), (-1, chunks))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize(
        "classes, chunk", [(2, 1), (10, 3), (65, 13), (1000, 333), (40000, 9999)]
    )
    def test_any_are_as_accurate_as_one_machine(self, classes, chunk, dtype):
        logits, labels, prior = problem(classes, dtype, rows=20)
        labels = np.where(labels == -100, 0, labels)
        z, y = both(logits, labels, (20, chunk))
        row = reference.shifted(logits)
        assert_within(SOFTMAX_OF_ANY, sxd.softmax(z).compute(), reference.softmax(logits))
        log_p = reference.log_softmax(logits)
        assert_within(LOSS_OF_ANY, sxd.log_softmax(z).compute(), log_p)
        largest, excess = logits.max(-1).astype(reference.Real), row.log_total[:, 0]
        at = np.maximum(abs(largest), excess)
        assert_within(LOGSUMEXP + 1, sxd.logsumexp(z).compute(), largest + excess, at)
        u = prior.astype(dtype).astype(reference.Real)
        smoothed = -np.sum(np.where(u > 0, u * log_p, 0), -1)
        nll = -np.take_along_axis(log_p, labels[:, np.newaxis], -1)[:, 0]
        for eps in (0.0, 0.1, 1.0):
            loss = sxd.cross_entropy(z, y, label_smoothing=eps, prior=prior, reduction="none")
            exact = (1 - reference.Real(eps)) * nll + reference.Real(eps) * smoothed
            assert_within(LOSS_OF_ANY, loss.compute(), exact)


class TestSpecialRows:
    """They have the same bits as on one machine."""

    CLASSES = 2 * SEGMENT + 500

    def rows(self, dtype):
        rng = np.random.default_rng(5)
        most = float(np.finfo(dtype).max)
        z = rng.normal(size=(16, self.CLASSES)).astype(dtype)
        z[0, 20000] = np.nan
        z[1, 3] = np.inf
        z[2] = -np.inf
        z[3, :SEGMENT] = -np.inf  # a whole chunk
        z[4, SEGMENT:] = -np.inf
        z[5] = -np.inf
        z[5, -1] = 2.0
        z[6] *= most / 8  # out of range of the fast path
        z[7, 17000] = most
        z[8, 9] = -most
        z[9] = -most
        z[10, 5], z[10, 17000] = np.nan, np.inf
        z[11, 40:50] = -np.inf
        z[12] = -most
        z[12, 30000] = most
        z[13, 5] = np.nan  # ignored
        z[14] = np.nan
        z[15, ::2] = -np.inf
        labels = rng.integers(0, self.CLASSES, 16)
        labels[5], labels[7] = self.CLASSES - 1, 17000
        labels[11], labels[12], labels[13] = 45, 30000, -100
        prior = rng.exponential(size=self.CLASSES)
        prior[40:50] = 0.0
        prior[::2] = 0.0
        return z, labels, prior / prior.sum()

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_of_whole_segments(self, dtype):
        logits, labels, prior = self.rows(dtype)
        z, y = both(logits, labels, (5, SEGMENT))
        with np.errstate(all="raise"):
            for name in ACTIVATIONS:
                assert_same_bits(getattr(sxd, name)(z).compute(), getattr(sx, name)(logits))
            for options in smoothings(prior):
                for reduction in REDUCTIONS:
                    loss = sxd.cross_entropy(z, y, reduction=reduction, **options).compute()
                    expected = sx.cross_entropy(logits, labels, reduction=reduction, **options)
                    assert_same_bits(loss, np.asarray(expected))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_of_infinities_without_prior_in_one_chunk_of_several(self, dtype):
        """Such a row leaves the fast path in all chunks; the sum shows the bits of the losses before rounding."""
        logits, labels, prior = self.rows(dtype)
        logits, labels = logits[[11, 15, 4]], labels[[11, 15, 4]] | 1
        labels[0] = 61  # where the logit is finite
        prior[SEGMENT:] = 0.0  # row 4 has only -inf there
        prior /= prior.sum()
        z, y = both(logits, labels, (1, SEGMENT))
        options = {"label_smoothing": 0.3, "prior": prior, "reduction": "sum"}
        for row in range(3):
            loss = sxd.cross_entropy(z[row : row + 1], y[row : row + 1], **options).compute()
            expected = sx.cross_entropy(logits[row : row + 1], labels[row : row + 1], **options)
            assert row == 2 or np.isfinite(expected)
            assert_same_bits(loss, np.asarray(expected))

    @pytest.mark.parametrize("chunk", [99 * BLOCK, 99 * BLOCK + 1, (45, SEGMENT, SEGMENT + 455)])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_of_other_chunks(self, dtype, chunk):
        logits, labels, prior = self.rows(dtype)
        z, y = both(logits, labels, (5, chunk))
        for options in smoothings(prior):
            loss = sxd.cross_entropy(z, y, reduction="none", **options).compute()
            expected = sx.cross_entropy(logits, labels, reduction="none", **options)
            assert ulp_error(loss, expected).max() <= TWO
        p, expected = sxd.softmax(z).compute(), sx.softmax(logits)
        assert ulp_error(p, expected).max() <= TWO

    def test_infinity_under_the_least_smoothing(self):
        logits = np.zeros((1, 200))
        logits[0, 150] = -np.inf
        z, y = both(logits, np.array([0]), (1, 100))
        loss = sxd.cross_entropy(z, y, label_smoothing=5e-324, reduction="none").compute()
        assert loss == sx.cross_entropy(logits, [0], label_smoothing=5e-324) == np.inf

    def test_float64_sums_that_overflow_are_joined_in_units(self):
        most = np.finfo(np.float64).max
        logits = np.full((1, 2 * SEGMENT), -most / 2e4)
        logits[0, 0] = 1.0
        z, y = both(logits, np.array([0]), (1, SEGMENT))
        loss = sxd.cross_entropy(z, y, label_smoothing=0.5, reduction="none").compute()
        expected = sx.cross_entropy(logits, [0], label_smoothing=0.5, reduction="none")
        assert np.isfinite(loss).all()
        assert_same_bits(loss, expected)

    def test_float64_gap_of_the_label_that_overflows_until_it_is_smoothed(self):
        most = np.finfo(np.float64).max
        logits, prior = np.full((1, 2 * SEGMENT), -most), np.eye(1, 2 * SEGMENT)[0]
        logits[0, 0] = most
        z, y = both(logits, np.array([1]), (1, SEGMENT))
        options = {"label_smoothing": 0.9, "prior": prior, "reduction": "none"}
        loss = sxd.cross_entropy(z, y, **options).compute()
        assert np.isfinite(loss).all()
        assert_same_bits(loss, sx.cross_entropy(logits, [1], **options))


def test_sixteen_bits_are_rounded_once():
    logits, labels, _ = problem(1000, ml_dtypes.bfloat16)
    z, _ = both(logits, labels, (4, 333))
    exact = reference.log_softmax(logits.astype(np.float64))
    assert_within(stored(LOSS_OF_ANY, logits.dtype), sxd.log_softmax(z).compute(), exact)


@pytest.mark.filterwarnings("error")
def test_a_leading_nan_in_bfloat16():
    """NumPy warns of its maximum."""
    z = np.zeros((2, 200), ml_dtypes.bfloat16)
    z[0, 0] = np.nan
    with dask.config.set(scheduler="synchronous"):
        assert_same_bits(sxd.logsumexp(da.from_array(z, (2, 100))).compute(), sx.logsumexp(z))
