"""Columns of lists, of pyarrow and pandas: those of a fixed size are read without a copy, others refused."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import smoothxent as sx
from problems import FLOATS, problem
from smoothxent._arrays import as_logits, as_targets
from ulp import assert_same_bits

Z, Y, U = problem(10)  # (7, 10), (7,), (10,)


def fixed(array):
    """An array of any number of axes as nested lists of fixed sizes."""
    column = pa.array(np.ascontiguousarray(array).ravel())
    for length in array.shape[:0:-1]:
        column = pa.FixedSizeListArray.from_arrays(column, length)
    return column


def in_pandas(column):
    return pd.Series(column, dtype=pd.ArrowDtype(column.type))


FORMS = {
    "array": fixed,
    "one chunk": lambda array: pa.chunked_array([fixed(array)]),
    "series": lambda array: in_pandas(fixed(array)),
    "extension array": lambda array: in_pandas(fixed(array)).array,
    "index": lambda array: pd.Index(in_pandas(fixed(array))),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


class TestFixedSize:
    @every_form
    @pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
    def test_are_read_where_they_lie(self, form, dtype):
        z = Z.astype(dtype)
        given = form(z)
        array = as_logits(given, "logits")
        assert_same_bits(array, z)
        assert not array.flags.owndata
        assert_same_bits(sx.softmax(given), sx.softmax(z))

    def test_share_the_memory(self):
        column = pa.FixedSizeListArray.from_arrays(pa.array(Z.ravel()), 10)
        for given in (column, column[2:5], pa.chunked_array([column]), in_pandas(column)):
            rows = slice(2, 5) if len(given) == 3 else slice(None)
            array = as_logits(given, "logits")
            assert np.shares_memory(array, column.flatten().to_numpy())
            assert_same_bits(array, Z[rows])

    @every_form
    def test_of_several_axes(self, form):
        z = np.arange(24.0).reshape(2, 3, 4)
        assert_same_bits(sx.softmax(form(z)), sx.softmax(z))

    def test_several_chunks_are_put_together(self):
        column = pa.chunked_array([fixed(Z[:2]), fixed(Z[2:])])
        assert_same_bits(as_logits(column, "logits"), Z)
        assert as_logits(pa.chunked_array([], fixed(Z).type), "logits").shape == (0, 10)

    def test_of_labels_probabilities_priors_and_masks(self):
        labels, q = np.arange(6).reshape(2, 3), np.full((7, 10), 0.1)
        assert as_targets(fixed(labels), "targets").dtype == labels.dtype
        assert_same_bits(as_targets(fixed(labels), "targets"), labels)
        options = {"label_smoothing": 0.1, "where": np.arange(70).reshape(7, 10) % 9 > 0}
        as_lists = options | {"where": fixed(options["where"]), "prior": fixed(q)}
        got = sx.cross_entropy(fixed(Z), fixed(q), **as_lists)
        assert got == sx.cross_entropy(Z, q, prior=q, **options)

    @pytest.mark.parametrize("rows", [[[1.0, 2.0], None], [[1.0, None], [1.0, 2.0]]])
    def test_missing_values_are_refused(self, rows):
        column = pa.array(rows, pa.list_(pa.float32(), 2))
        for given in (column, pa.chunked_array([column]), in_pandas(column)):
            with pytest.raises(
                TypeError, match="^logits has missing values; decide what they mean$"
            ):
                sx.softmax(given)

    def test_missing_values_of_a_dictionary_are_refused(self):
        values = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array([0.5, None]))
        with pytest.raises(TypeError, match="^logits has missing values; decide what they mean$"):
            sx.softmax(pa.FixedSizeListArray.from_arrays(values, 2))

    def test_other_types_are_refused(self):
        with pytest.raises(TypeError, match="^logits has dtype object "):
            sx.softmax(pa.array([["a", "b"]], pa.list_(pa.string(), 2)))


class TestOthersAreRefused:
    """The error suggests a remedy, which works."""

    def test_a_missing_list(self):  # no number can fill it
        column = pa.array([None, [0.5, 1.0]])
        for given in (column, pa.chunked_array([column]), in_pandas(column)):
            with pytest.raises(
                TypeError, match="^logits has missing values; decide what they mean$"
            ):
                sx.softmax(given)

    def test_lists_of_pyarrow(self):
        column = pa.array(Z.tolist(), pa.list_(pa.float32()))
        for given in (column, pa.chunked_array([column])):
            remedy = r"logits.cast(pyarrow.list_(logits.type.value_type, 10))"
            with pytest.raises(TypeError) as caught:
                sx.softmax(given)
            assert str(caught.value).endswith(f" (of lists of equal lengths pass {remedy})")
            assert_same_bits(
                sx.softmax(eval(remedy, {"logits": given, "pyarrow": pa})), sx.softmax(Z)
            )

    @pytest.mark.parametrize("rows", [list(Z), Z.tolist()], ids=["arrays", "lists"])
    def test_objects_of_pandas(self, rows):
        series = pd.Series(rows)
        for given in (series, series.array, series.to_numpy()):
            with pytest.raises(TypeError) as caught:
                sx.softmax(given)
            assert str(caught.value).endswith(
                " (of lists of equal lengths pass numpy.stack(logits))"
            )
            assert_same_bits(sx.softmax(np.stack(given).astype(np.float32)), sx.softmax(Z))
        with pytest.raises(
            TypeError, match=r" \(of lists of equal lengths pass numpy.stack\(targets\)\)$"
        ):
            sx.cross_entropy(Z, series)

    def test_tables(self):
        for given in (pa.table({"z": fixed(Z)}), pd.DataFrame({"z": list(Z)})):
            with pytest.raises(TypeError, match=r" \(pass the column of lists alone\)$"):
                sx.softmax(given)
            assert_same_bits(sx.softmax(np.stack(given["z"].to_numpy())), sx.softmax(Z))

    def test_tensors_of_pyarrow(self):
        z = np.arange(24.0).reshape(2, 3, 4)
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(z)
        for given, in_one in ((column, ""), (pa.chunked_array([column]), "combine_chunks().")):
            remedy = f"logits.{in_one}to_numpy_ndarray()"
            with pytest.raises(TypeError) as caught:
                sx.softmax(given)
            assert str(caught.value).endswith(f" (pass {remedy})")
            assert_same_bits(sx.softmax(eval(remedy, {"logits": given})), sx.softmax(z))


@pytest.mark.parametrize("dtype", ["Float32", "float[pyarrow]", {0: "Float32", 1: "Float64"}])
def test_data_frames_of_nullable_numbers(dtype):
    """NumPy alone would make arrays of objects."""
    z = problem(8, np.float32).logits
    wide = z.astype(np.float64) if isinstance(dtype, dict) else z
    assert_same_bits(sx.softmax(pd.DataFrame(z).astype(dtype)), sx.softmax(wide))
