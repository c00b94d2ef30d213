"""smoothxent.dask: nothing is computed early or put into other chunks; and which arguments are refused."""

import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse
from dask.callbacks import Callback
from dask_problems import REDUCTIONS, ROWS, SEGMENT, TWO, both, problem

import smoothxent as sx
import smoothxent.dask as sxd
from ulp import assert_within


@pytest.fixture(autouse=True)
def threads():
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


def moves_logits(lazily):
    """Is there a step that joins logits of several chunks?"""
    return any(name.startswith(("edge", "rechunk")) for name in lazily.dask.layers)


class TestLazy:
    """Graphs are built without computing a chunk."""

    def unreadable(self, shape, chunks, dtype=np.float32):
        def fail(block):
            raise AssertionError("computed")

        empty = da.empty(shape, chunks=chunks, dtype=dtype)
        meta = np.empty((0,) * len(shape), dtype)
        return da.map_blocks(fail, empty, dtype=dtype, meta=meta)

    @pytest.mark.parametrize("chunks", [(2, -1), (-1, 64), ((3, 4), (1, 60, 39))])
    def test_nothing_is_computed_or_rechunked(self, chunks):
        z = self.unreadable((ROWS, 100), chunks)
        y = self.unreadable((ROWS,), z.chunks[:1], np.int64)
        prior = np.full(100, 0.01)
        shares_blocks = 60 in z.chunks[1]
        for name in ("softmax", "log_softmax"):
            result = getattr(sxd, name)(z)
            assert (result.chunks, result.dtype) == (z.chunks, z.dtype)
            assert moves_logits(result) == shares_blocks
        assert sxd.logsumexp(z).chunks == z.chunks[:1]
        for reduction in REDUCTIONS:
            loss = sxd.cross_entropy(z, y, label_smoothing=0.1, prior=prior, reduction=reduction)
            assert loss.chunks == (z.chunks[:1] if reduction == "none" else ())
            assert moves_logits(loss) == shares_blocks
            with pytest.raises(AssertionError, match="computed"):
                loss.compute()

    @pytest.mark.parametrize("chunks", [(2, 3), ((3, 0, 4), (1, 0, 9))])
    def test_few_classes_are_computed_together_and_returned_in_their_chunks(self, chunks):
        logits = problem(10)[0]
        z = da.from_array(logits, chunks=chunks)
        for axis in (1, 0):
            array = z if axis else z.T
            for name in ("softmax", "log_softmax"):
                assert getattr(sxd, name)(array, axis=axis).chunks == array.chunks
            assert sxd.logsumexp(array, axis=axis).chunks == z.chunks[:1]

    def test_each_chunk_of_logits_is_made_once_and_as_it_is(self):
        seen = []

        def watch(block):
            seen.append(block.shape)
            return block

        logits, labels, _ = problem(1000)
        z, y = both(logits, labels, (4, 300))
        watched = z.map_blocks(watch, dtype=z.dtype, meta=z._meta)
        sxd.cross_entropy(watched, y).compute()
        expected = [(n, k) for n in (4, 3) for k in (300, 300, 300, 100)]
        assert sorted(seen) == sorted(expected)

    def bytes_that_pass(self, lazily):
        sizes = {}

        def note(key, result, *_):
            name = key[0].rpartition("-")[0]
            sizes[name] = sizes.get(name, 0) + getattr(result, "nbytes", 0)

        with Callback(posttask=note):
            lazily.compute(optimize_graph=False)
        return sizes

    def test_bytes_that_pass_between_chunks(self):
        """As stated in docs/howto/dask.md: for each row, 8 and 48 bytes a segment and 24 a chunk."""
        logits, labels, prior = problem(40000)
        z, y = both(logits, labels, (ROWS, (2 * SEGMENT, 40000 - 2 * SEGMENT)))
        for options, of_maxima in (({}, 8), ({"label_smoothing": 0.1, "prior": prior}, 16)):
            sizes = self.bytes_that_pass(sxd.cross_entropy(z, y, **options))
            assert sizes["maxima"] == of_maxima * 3 * ROWS
            assert sizes["join_maxima"] == 24 * ROWS
            assert sizes["check_labels"] == 8 * ROWS
            assert sizes["reduce"] == 48 * 3 * ROWS
        assert self.bytes_that_pass(sxd.softmax(z))["finish"] == 24 * ROWS

    def test_bytes_that_pass_where_chunks_share_a_block(self):
        """One more segment, two maxima, and the logits that the first chunk borrows; nothing else."""
        logits, labels, _ = problem(40000)
        z, y = both(logits, labels, (ROWS, (2 * SEGMENT + 5, 39995 - 2 * SEGMENT)))
        sizes = self.bytes_that_pass(sxd.cross_entropy(z, y))
        assert sizes["edge"] == sizes["rechunk-merge"] == 4 * 59 * ROWS
        assert sizes["maxima"] == 8 * 5 * ROWS
        assert sizes["reduce_parts"] == 48 * 4 * ROWS

    @pytest.mark.parametrize("classes, chunk", [(100, -1), (100, 30), (60, 7)])
    def test_chunks_of_an_unknown_number_of_rows(self, classes, chunk):
        logits, labels, _ = problem(classes)
        z, y = both(logits, labels, (3, chunk))
        kept = da.from_array(np.arange(ROWS) % 3 != 1, chunks=3)
        some, labels_of_some = z[kept], y[kept]
        assert np.isnan(some.shape[0])
        which = kept.compute()
        p = sxd.log_softmax(some).compute()
        assert_within(TWO, p, sx.log_softmax(logits[which]))
        loss = sxd.cross_entropy(some, labels_of_some, label_smoothing=0.1).compute()
        expected = sx.cross_entropy(logits[which], labels[which], label_smoothing=0.1)
        # A mean of float32 losses, each within two ulp.
        assert_within(TWO, np.float32(loss), np.float32(expected))
        for axis, turned in ((1, some), (0, some.T)):
            kept_axis = sxd.logsumexp(turned, axis=axis, keepdims=True)
            assert kept_axis.ndim == 2
            assert kept_axis.numblocks[axis] == 1
            expected = sx.logsumexp(logits[which])
            assert_within(TWO, kept_axis.compute().squeeze(axis), expected)


class TestErrors:
    z = da.zeros((4, 6), chunks=(2, 3))
    y = da.zeros(4, chunks=2, dtype=np.int64)

    @pytest.mark.parametrize("reduction", ["none", "mean"])
    @pytest.mark.parametrize("classes", [-1, 3])
    def test_a_bad_label_is_named_by_its_row_of_all(self, classes, reduction):
        labels = np.array([0, 1, -100, 6])
        z = da.zeros((4, 6), chunks=(2, classes))
        y = da.from_array(labels, chunks=2)
        loss = sxd.cross_entropy(z, y, reduction=reduction)
        text = r"targets\[3\] is 6, but there are 6 classes \(ignore_index is -100\)"
        with pytest.raises(sx.LabelError, match=text):
            loss.compute()

    def test_a_bad_label_of_an_unknown_row_is_named_by_its_chunk(self):
        kept = da.from_array(np.array([True, True, False, True]), chunks=2)
        labels = da.from_array(np.array([0, 1, 2, 7]), chunks=2)
        loss = sxd.cross_entropy(self.z[kept], labels[kept])
        with pytest.raises(
            sx.LabelError, match=r"targets\[0\] of chunk \(1,\) is 7, but there are 6"
        ):
            loss.compute()

    @pytest.mark.parametrize("classes", [-1, 3, 90])
    def test_chunks_of_other_numbers_of_rows_that_were_unknown(self, classes):
        z = da.zeros((4, 6 if classes < 90 else 180), chunks=(2, classes))
        some, one = (
            da.from_array(np.array(kept), chunks=2) for kept in ([1, 1, 1, 1], [1, 0, 1, 0])
        )
        loss = sxd.cross_entropy(z[some > 0], self.y[one > 0])
        with pytest.raises(ValueError, match=r"^targets must have shape \(2,\) .*, got \(1,\)$"):
            loss.compute()

    @pytest.mark.parametrize("classes", [-1, 3])
    def test_labels_that_chunks_turn_out_not_to_be(self, classes):
        z = self.z.rechunk((2, classes))
        chunks = {
            "targets is a masked array with masked values": lambda y: np.ma.masked_equal(y, 0),
            "targets has dtype float64, expected integer labels": lambda y: y + 0.5,
        }
        for text, make in chunks.items():
            y = self.y.map_blocks(make, dtype=np.int64, meta=np.empty(0, np.int64))
            with pytest.raises(TypeError, match=f"^{text}"):
                sxd.cross_entropy(z, y).compute()

    def refuse(self, kind, text, *arrays, **options):
        function = sxd.cross_entropy if len(arrays) == 2 else sxd.softmax
        with pytest.raises(kind) as error:
            function(*arrays, **options)
        assert str(error.value) == text

    @pytest.mark.parametrize("keepdims", ["no", 1, None])
    def test_keepdims_that_are_no_bool(self, keepdims):
        with pytest.raises(TypeError) as expected:
            sx.logsumexp(np.zeros((2, 3)), keepdims=keepdims)
        with pytest.raises(TypeError) as error:
            sxd.logsumexp(self.z, keepdims=keepdims)
        assert str(error.value) == str(expected.value)

    @pytest.mark.parametrize("said, made", [(np.float64, np.float32), (np.float32, np.float64)])
    def test_chunks_of_another_type_than_dask_was_told(self, said, made):
        """Their sums, in other units, would be read wrongly: the logsumexp of zeros was 1e-7."""
        zeros = da.zeros((2, 130), dtype=said, chunks=(2, 70))
        logits = zeros.map_blocks(np.asarray, made, dtype=said, meta=np.empty((0, 0), said))
        labels = da.zeros(2, dtype=int, chunks=2)
        for lazy in (sxd.logsumexp(logits), sxd.cross_entropy(logits, labels), sxd.softmax(logits)):
            with pytest.raises(
                TypeError, match=f"chunk of dtype {made.__name__}, but dask takes"
            ) as error:
                lazy.compute()
        assert str(error.value).endswith(
            f'pass logits.map_blocks(numpy.asarray, dtype="{made.__name__}")'
        )
        told = logits.map_blocks(np.asarray, dtype=made)
        assert (abs(sxd.logsumexp(told).compute() - np.log(130)) < 1e-6).all()

    @pytest.mark.parametrize("place", [3, 65, 75, 129])
    def test_a_masked_logit_also_in_a_block_that_chunks_share(self, place):
        """Block 64 to 127 is in both chunks; NumPy loses masks when it joins the parts."""
        z = np.ma.array(np.zeros((2, 130)), mask=False)
        z[1, place] = np.ma.masked
        logits = da.from_array(z, chunks=(2, (70, 60)), asarray=False)
        labels = da.zeros(2, dtype=int, chunks=2)
        for lazy in (sxd.logsumexp(logits), sxd.cross_entropy(logits, labels), sxd.softmax(logits)):
            with pytest.raises(TypeError, match="logits is a masked array with masked values"):
                lazy.compute()

    def test_arrays(self):
        z, y = self.z, self.y
        self.refuse(
            TypeError,
            "logits must be a dask.array.Array, got ndarray; pass dask.array.from_array(logits), "
            "or call the function of smoothxent",
            np.zeros((4, 6)),
        )
        self.refuse(
            TypeError,
            "targets must be a dask.array.Array, got list; pass dask.array.from_array(targets)",
            z,
            [0, 0, 0, 0],
        )
        self.refuse(
            ValueError,
            "logits has chunks of unknown sizes along axis 1, that of the classes; "
            "logits.compute_chunk_sizes() finds them",
            z[:, z[0] > 1],
        )
        self.refuse(ValueError, "logits has 0 classes along axis 1, expected at least 1", z[:, :0])
        self.refuse(
            ValueError,
            "targets must have the chunks of the rows of logits, ((2, 2),), got ((3, 1),); "
            "targets.rechunk gives them",
            z,
            y.rechunk(3),
        )
        for other in (z.astype(int), y[0]):  # one-hot labels, or a single one
            with pytest.raises(ValueError, match="targets must have the chunks of the rows"):
                sxd.cross_entropy(z, other)
        self.refuse(
            TypeError,
            "targets has dtype float64, expected integer labels",
            z,
            y.astype(float),
        )
        with pytest.raises(TypeError, match="logits has dtype complex128, expected float16"):
            sxd.logsumexp(z.astype(complex))
        sparse = z.map_blocks(scipy.sparse.csr_array, meta=scipy.sparse.csr_array((0, 0)))
        with pytest.raises(TypeError, match="has chunks of type csr_array, expected numpy.ndarray"):
            sxd.softmax(sparse)

    def test_options(self):
        z, y = self.z, self.y
        self.refuse(
            np.exceptions.AxisError,
            "logits: axis 2 is out of bounds for array of dimension 2",
            z,
            axis=2,
        )
        self.refuse(TypeError, "axis must be an integer, got NoneType", z, axis=None)
        self.refuse(
            ValueError, "label_smoothing must be in [0, 1], got 1.5", z, y, label_smoothing=1.5
        )
        self.refuse(
            TypeError,
            "prior is given without label_smoothing; pass how much goes to it, for example label_smoothing=0.1",
            z,
            y,
            prior=np.full(6, 1 / 6),
        )
        self.refuse(
            ValueError,
            'reduction must be "none", "sum", "mean" or "sum_by_nonzero_weights", got "max"',
            z,
            y,
            reduction="max",
        )
        self.refuse(
            TypeError,
            "prior is a dask array, expected one in memory; pass prior.compute()",
            z,
            y,
            label_smoothing=0.1,
            prior=z[0],
        )
        self.refuse(
            ValueError,
            "prior must have shape (6,), got (1, 6)",
            z,
            y,
            label_smoothing=0.1,
            prior=np.full((1, 6), 1 / 6),
        )
        with pytest.raises(ValueError, match=r"prior sums to 3.0, expected 1 within"):
            sxd.cross_entropy(z, y, label_smoothing=0.1, prior=np.full(6, 0.5))
        with pytest.raises(ValueError, match=r"ignore_index must fit 64 bits"):
            sxd.cross_entropy(z, y, ignore_index=2**64)

    def test_without_smoothing_a_prior_is_not_read(self):
        options = {"label_smoothing": 0.0, "prior": np.full(6, np.nan)}
        assert sxd.cross_entropy(self.z, self.y, **options) == sxd.cross_entropy(self.z, self.y)

    def test_the_numpy_functions_name_this_module(self):
        text = (
            "logits is a collection of dask, which is not computed here; pass logits.compute(), or "
            "call the function of smoothxent.dask, which computes nothing until it is asked"
        )
        with pytest.raises(TypeError) as error:
            sx.softmax(self.z)
        assert str(error.value) == text


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_dask_is_imported_by_this_module_alone():
    code = "import sys, smoothxent; print('dask' in sys.modules); import smoothxent.dask; print('dask' in sys.modules)"
    assert run_python(code) == "False\nTrue\n"


def test_without_dask_the_error_names_the_extra():
    code = "import sys; sys.modules['dask.array'] = None; import smoothxent.dask"
    text = run_python(code)
    assert "ImportError: smoothxent.dask needs dask: pip install 'smoothxent[dask]'" in text
