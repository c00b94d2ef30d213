"""Arrays of other libraries: read without a copy, or refused with a remedy.

Each library is the real one. Tensors of torch are tested separately.
"""

import array
import sys
import types

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from jax.experimental.sparse import BCOO

import smoothxent as sx
from problems import FLOATS, LABEL_DTYPES, one_hot, problem
from smoothxent._arrays import as_logits, as_targets
from test_dtypes import assert_all_same, everything
from ulp import assert_same_bits

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
Z, Y, U = problem(10)  # (7, 10), (7,), (10,)
ALL_FLOATS = (np.float16, BFLOAT16, *FLOATS)


class HasArray:
    """Has only `__array__`."""

    def __init__(self, memory):
        self.memory = memory

    def __array__(self, dtype=None, copy=None):
        return self.memory


class HasDLPack:
    """Has only DLPack, on a given device."""

    def __init__(self, memory, device=(1, 0)):
        self.memory = memory
        self.device = device

    def __dlpack__(self, **options):
        return self.memory.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


class HasInterface:
    """Has only `__array_interface__`."""

    def __init__(self, memory):
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__


def address(a):
    return a.ctypes.data


def of_memory(obj):
    return address(obj.memory)


def of_memoryview(view):
    return address(np.frombuffer(view.obj, np.uint8))


# name: (from a NumPy array of two dimensions, where the elements are, the dtypes)
MATRICES = {
    "__array__": (HasArray, of_memory, ALL_FLOATS),
    "DLPack": (HasDLPack, of_memory, (np.float16, *FLOATS)),
    "__array_interface__": (HasInterface, of_memory, (np.float16, *FLOATS)),
    "memoryview": (
        lambda z: memoryview(bytearray(z.tobytes())).cast(z.dtype.char, z.shape),
        of_memoryview,
        FLOATS,
    ),
    "pandas.DataFrame": (pd.DataFrame, lambda frame: address(frame.to_numpy()), FLOATS),
    "pyarrow.Tensor": (
        pa.Tensor.from_numpy,
        lambda tensor: address(tensor.to_numpy()),
        (np.float16, *FLOATS),
    ),
    "jax.Array": (
        jnp.asarray,
        lambda a: a.unsafe_buffer_pointer(),
        (np.float16, BFLOAT16, np.float32),
    ),
}
VECTORS = {
    "array.array": (lambda z: array.array(z.dtype.char, z), lambda a: a.buffer_info()[0], FLOATS),
    "pandas.Series": (pd.Series, lambda series: address(series.to_numpy()), FLOATS),
    "pandas.Index": (pd.Index, lambda index: address(index.to_numpy()), FLOATS),
    "pandas.Series of pyarrow": (
        lambda z: pd.Series(z, dtype=pd.ArrowDtype(pa.from_numpy_dtype(z.dtype))),
        lambda series: pa.array(series).buffers()[1].address,
        FLOATS,
    ),
    "pyarrow.Array": (pa.array, lambda a: a.buffers()[1].address, (np.float16, *FLOATS)),
}
CASES = [
    pytest.param(z, make, where, dtype, id=f"{name} of {np.dtype(dtype)}")
    for z, kinds in ((Z, MATRICES), (Z[0], VECTORS))
    for name, (make, where, dtypes) in kinds.items()
    for dtype in dtypes
]


@pytest.mark.parametrize("z, make, where, dtype", CASES)
def test_logits_are_read_where_they_lie(z, make, where, dtype):
    z = np.array(z, dtype)
    labels = Y if z.ndim == 2 else Y[1]
    obj = make(z)
    read = as_logits(obj, "logits")
    assert type(read) is np.ndarray
    assert address(read) == where(obj)
    assert_same_bits(read, z)
    assert_all_same(everything(obj, labels), everything(z, labels))


class TestNumbersOfPython:
    def test_lists_are_float64(self):
        z = [[1.0, 2.0, 3.0], [0.5, 0.25, 0.125]]
        assert_all_same(everything(z, [0, 2]), everything(np.array(z), np.array([0, 2])))
        whole = [[1, 2, 3], (4, 5, 6)]
        assert_all_same(
            everything(whole, (0, 2)), everything(np.array(whole, np.float64), np.array([0, 2]))
        )

    def test_lists_of_arrays_keep_the_type(self):
        for rows in (list(Z), [pd.Series(z) for z in Z], [pa.array(z) for z in Z]):
            assert_all_same(everything(rows, Y), everything(Z, Y))

    def test_one_label_is_an_int(self):
        for label in (3, np.int64(3), np.array(3), jnp.asarray(3)):
            assert sx.cross_entropy(Z[0], label) == sx.cross_entropy(Z[:1], [3])

    @pytest.mark.parametrize("number", [0.25, np.float32(0.25), np.array(0.25), jnp.asarray(0.25)])
    def test_options_are_numbers(self, number):
        options = {"label_smoothing": number, "temperature": number, "z_loss": number}
        plain = dict.fromkeys(options, 0.25)
        assert sx.cross_entropy(Z, Y, **options) == sx.cross_entropy(Z, Y, **plain)


# Labels of each library; `int64` if there is a choice.
LABELS = {
    "range": range,
    "list": lambda n: list(range(n)),
    "bytearray": lambda n: bytearray(range(n)),
    "memoryview": lambda n: memoryview(bytes(range(n))),
    "array.array": lambda n: array.array("H", range(n)),
    "pandas.Series": lambda n: pd.Series(range(n)),
    "pandas.Series that may have missing values": lambda n: pd.Series(range(n), dtype="Int64"),
    "pandas.Series of pyarrow": lambda n: pd.Series(range(n), dtype="int8[pyarrow]"),
    "pandas.RangeIndex": lambda n: pd.RangeIndex(n),
    "pandas.Categorical of integers": lambda n: pd.Categorical(range(n)),
    "pyarrow.Array": lambda n: pa.array(range(n)),
    "pyarrow.ChunkedArray": lambda n: pa.chunked_array([range(3), range(3, n)]),
    "jax.Array": jnp.arange,
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels(kind):
    labels = LABELS[kind](7)
    assert_all_same(everything(Z, labels), everything(Z, np.arange(7)))
    expected = sx.smooth_labels(np.arange(7), 10, label_smoothing=0.1)
    assert_same_bits(sx.smooth_labels(labels, 10, label_smoothing=0.1), expected)
    assert_same_bits(sx.class_prior(labels, 10), sx.class_prior(np.arange(7), 10))


@pytest.mark.parametrize("dtype", LABEL_DTYPES)
def test_labels_of_pyarrow_are_read_where_they_lie(dtype):
    labels = pa.array(np.arange(7, dtype=dtype))
    read = as_targets(labels, "targets")
    assert read.dtype == dtype
    assert address(read) == labels.buffers()[1].address


MAKERS = {
    "lists": lambda a: a.tolist(),
    "pandas": lambda a: pd.DataFrame(a) if a.ndim == 2 else pd.Series(a),
    "pyarrow": lambda a: pa.Tensor.from_numpy(a) if a.ndim == 2 else pa.array(a),
    "jax": jnp.asarray,
}


@pytest.mark.parametrize("library", MAKERS)
def test_every_other_argument(library):
    """Probabilities, priors, weights and masks are read by the same rules as logits and labels."""
    make = MAKERS[library]
    u = np.float32([0.5, 0.25, 0.125, 0.125, 0, 0, 0, 0, 0, 0])  # exact in every type
    arrays = {
        "prior": u,
        "class_weight": np.arange(10, dtype=np.float32),
        "sample_weight": np.arange(7, dtype=np.float32),
    }
    where = np.arange(70).reshape(7, 10) % 9 != 4
    if library == "pyarrow":
        where = where[0]  # a mask of bits, which has one dimension only
    options = {"label_smoothing": 0.1, "reduction": "none"}
    for targets in (Y, one_hot(Y, 10)):
        got = sx.cross_entropy_value_and_grad(
            Z,
            make(targets),
            where=make(where) if library != "pyarrow" else pa.array(where),
            **options,
            **{name: make(a) for name, a in arrays.items()},
        )
        expected = sx.cross_entropy_value_and_grad(Z, targets, where=where, **options, **arrays)
        assert_all_same(got, expected)
    got = sx.smooth_labels(make(one_hot(Y, 10)), label_smoothing=0.1, prior=make(u))
    assert_same_bits(got, sx.smooth_labels(one_hot(Y, 10), label_smoothing=0.1, prior=u))
    weight = make(arrays["sample_weight"])
    got = sx.class_prior(make(Y), 10, sample_weight=weight)
    assert_same_bits(got, sx.class_prior(Y, 10, sample_weight=arrays["sample_weight"]))


def test_bfloat16_of_jax_stays_bfloat16():
    z = jnp.asarray(Z, jnp.bfloat16)
    assert sx.softmax(z).dtype == BFLOAT16
    loss, grad = sx.cross_entropy_value_and_grad(z, Y)
    assert grad.dtype == BFLOAT16
    assert loss == sx.cross_entropy(Z.astype(BFLOAT16), Y)


def test_result_in_a_memoryview():
    memory = bytearray(Z.tobytes())
    view = np.asarray(memoryview(memory).cast("f", Z.shape))
    assert sx.softmax(view, out=view) is view
    assert memory == sx.softmax(Z).tobytes()


def device_text(number, kind):
    return (
        f"targets is on device {number} ({kind}); copy it to the CPU first, for example with "
        "targets.cpu()"
    )


FLOATS_EXPECTED = (
    "expected float16, bfloat16, float32 or float64 (integers and bools are converted to float64)"
)
TARGETS_EXPECTED = (
    "expected integer labels, or probabilities in float16, bfloat16, float32 or float64"
)


MISSING_CODE = "targets has missing values; decide what they mean"


def missing(name, remedy):
    return f"{name} has missing values; decide what they mean, for example with {remedy}"


def sparse(name, remedy):
    return f"{name} is a sparse array; pass {name}.{remedy}()"


def of_dask(module):
    """A stand-in for a dask collection, of which only the module of the class is checked."""

    def compute(self, *arguments, **options):
        raise AssertionError("it was computed")

    methods = {"__module__": f"dask.{module}", "__array__": compute, "__len__": compute}
    return type("Array", (), methods)()


def dask(name):
    return (
        f"{name} is a collection of dask, which is not computed here; pass {name}.compute(), or "
        "call the function of smoothxent.dask, which computes nothing until it is asked"
    )


MASKED = HasArray(np.ma.masked_array([0.5, 1.0], [False, True]))
MASKED_TEXT = "logits is a masked array with masked values; decide what they mean, for example with .filled(-numpy.inf)"
PANDAS_SPARSE = pd.arrays.SparseArray([0.0, 0.0, 1.0])


@pytest.mark.parametrize("device", [3, 11, 13])
def test_memory_that_devices_share_with_the_processor(device):
    """Page-locked memory of CUDA and ROCm, and the managed memory of CUDA."""
    assert_same_bits(sx.softmax(HasDLPack(Z, (device, 0))), sx.softmax(Z))


# the object, the argument, the whole text
REFUSED = {
    "CUDA": (HasDLPack(Y, (2, 1)), "targets", device_text(1, "CUDA")),
    "Metal": (HasDLPack(Y, (8, 0)), "targets", device_text(0, "Metal")),
    "a device without a name": (HasDLPack(Y, (99, 0)), "targets", device_text(0, "DLPack type 99")),
    "pandas with missing labels": (
        pd.Series([0, None, 2], dtype="Int64"), "targets", missing("targets", ".fillna(ignore_index)")),
    "pandas of pyarrow with missing labels": (
        pd.Series([0, None], dtype="int64[pyarrow]"), "targets", missing("targets", ".fillna(ignore_index)")),
    "pandas with missing logits": (
        pd.DataFrame({"a": pd.array([0.5, None], "Float64")}), "logits", missing("logits", ".fillna(-numpy.inf)")),
    "pandas with a missing choice": (
        pd.Series([True, None], dtype="boolean"), "where", missing("where", ".fillna(False)")),
    "pandas of strings": (
        pd.Series(["a", "b"]), "targets", f"targets has dtype object, {TARGETS_EXPECTED}"),
    "pandas of two kinds": (
        pd.DataFrame({"a": [1.0], "b": ["b"]}), "logits",
        f"logits has dtype object (converted from DataFrame), {FLOATS_EXPECTED}"),
    "pandas, sparse array": (PANDAS_SPARSE, "logits", sparse("logits", "to_dense")),
    "pandas, sparse series": (pd.Series(PANDAS_SPARSE), "logits", sparse("logits", "sparse.to_dense")),
    "pandas, sparse frame": (
        pd.DataFrame({"a": PANDAS_SPARSE}), "logits", sparse("logits", "sparse.to_dense")),
    "pandas with a missing category": (
        pd.Series(pd.Categorical([0, None], [0, 2])), "targets", MISSING_CODE),
    "pyarrow with a missing label in a dictionary": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array([2, None])), "targets", MISSING_CODE),
    "pyarrow with runs of missing labels": (
        pa.chunked_array([pa.RunEndEncodedArray.from_arrays([2, 3], pa.array([2, None]))]), "targets", MISSING_CODE),
    "a list of pyarrow with missing logits": (
        [pa.array([0.5, None])], "logits", missing("logits", ".fill_null(-numpy.inf)")),
    "a list of pandas with missing logits": (
        ([pd.Series([1, None], dtype="Int64")],), "logits", missing("logits", ".fillna(-numpy.inf)")),
    "pyarrow with missing labels": (
        pa.array([0, None]), "targets", missing("targets", ".fill_null(ignore_index)")),
    "pyarrow with missing labels in a chunk": (
        pa.chunked_array([[0], [None]]), "targets", missing("targets", ".fill_null(ignore_index)")),
    "pyarrow with missing logits": (
        pa.table({"a": [0.5, None]}), "logits", missing("logits", ".fill_null(-numpy.inf)")),
    "pyarrow with a missing weight": (
        pa.array([0.5, None]), "sample_weight", missing("sample_weight", ".fill_null(0.0)")),
    "pyarrow of strings": (
        pa.array(["a", "b"]), "targets",
        f"targets has dtype object (converted from StringArray), {TARGETS_EXPECTED}"),
    "jax, sparse": (
        BCOO((np.ones(1), np.zeros((1, 2), int)), shape=(3, 3)), "logits", sparse("logits", "todense")),
    "dask": (of_dask("array.core"), "logits", dask("logits")),
    "dask, labels": (of_dask("array.core"), "targets", dask("targets")),
    "dask, a subclass": (type("Own", (type(of_dask("array.core")),), {})(), "where", dask("where")),
    "dask, a frame": (of_dask("dataframe.dask_expr._collection"), "sample_weight", dask("sample_weight")),
    "dask, delayed": (of_dask("delayed"), "logits", dask("logits")),
    "a list of dask": ([Z[0], of_dask("array.core")], "logits", dask("logits[1]")),
    "a list of lists of dask": ([[1.0, 2.0], [of_dask("array.core")]], "logits", dask("logits[1][0]")),
    "masked by __array__": (MASKED, "logits", MASKED_TEXT),
    "a list of arrays masked by __array__": ([[MASKED]], "logits", MASKED_TEXT),
    "jax, complex": (jnp.asarray([1j]), "logits", f"logits has dtype complex64, {FLOATS_EXPECTED}"),
    "jax, a key": (
        jax.random.key(0), "targets",
        "targets cannot be read as an array: JAX array with PRNGKey dtype cannot be converted to a NumPy array. "
        "Use jax.random.key_data(arr) if you wish to extract the underlying integer array."),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", types.ModuleType("dask"))
    obj, argument, text = REFUSED[kind]
    calls = {
        "logits": lambda: sx.softmax(obj),
        "targets": lambda: sx.cross_entropy(Z, obj),
        "sample_weight": lambda: sx.cross_entropy(Z, Y, sample_weight=obj),
        "where": lambda: sx.softmax(Z, where=obj),
    }
    with pytest.raises(TypeError) as caught:
        calls[argument]()
    assert str(caught.value) == text


def test_missing_values_are_looked_for_where_there_can_be_some():
    """nan in a float column is nan, as in NumPy; a nullable type without nulls is accepted."""
    assert np.isnan(sx.logsumexp(pd.Series([0.0, np.nan])))
    assert sx.logsumexp(pd.Series([0.5, 0.5], dtype="Float64")) == sx.logsumexp([0.5, 0.5])
    assert sx.logsumexp(pa.table({"a": [0.5], "b": [0.5]})) == sx.logsumexp([0.5, 0.5])


def test_columns_may_have_any_name():
    names = ["nnz", "nse", "layout", "sparse", "dtype", "dtypes", "requires_grad", "columns"]
    assert_same_bits(sx.softmax(pd.DataFrame(Z[:, :8], columns=names)), sx.softmax(Z[:, :8]))


def test_traced_arrays_of_jax_are_refused():
    """They hold no numbers yet; the error ends with the text of jax."""
    for transformed in (jax.jit(sx.softmax), jax.grad(lambda z: sx.cross_entropy(z, Y))):
        with pytest.raises(
            TypeError, match="^logits cannot be read as an array: The numpy.ndarray "
        ):
            transformed(jnp.asarray(Z))


@pytest.mark.parametrize("make", [np.asarray, np.ndarray.tolist, jnp.asarray, pd.DataFrame])
def test_the_remedy_for_one_hot_booleans_works(make):
    targets, remedy = make(one_hot(Y, Z.shape[-1]) == 1), "numpy.asarray(targets, dtype=float)"
    with pytest.raises(TypeError) as caught:
        sx.cross_entropy(Z, targets)
    assert str(caught.value).endswith(f", {remedy} for one-hot labels)")
    targets = eval(remedy, {"targets": targets, "numpy": np})
    assert sx.cross_entropy(Z, targets) == sx.cross_entropy(Z, Y)
