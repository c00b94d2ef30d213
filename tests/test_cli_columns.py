"""Which column of a Parquet file the command reads."""

import pyarrow as pa
import pyarrow.parquet

import smoothxent as sx
from cli_runs import CLASSES, ROWS, Y, Z, failed, in_folder, scored

folder = in_folder


def lists(array):
    return pa.FixedSizeListArray.from_arrays(array.ravel(), CLASSES)


def test_two_columns_of_one_name(capsys):
    table = pa.Table.from_arrays([lists(Z), lists(Z[::-1])], names=["logits", "logits"])
    pa.parquet.write_table(table, "file")
    assert failed(capsys, 1, "file", "y.npy").endswith("file has 2 columns 'logits'")


def test_column_with_the_name_of_a_field_of_a_struct(capsys):
    fields = pa.array([{"of_it": 1}] * ROWS)
    pa.parquet.write_table(pa.table({"field": fields, "field.of_it": lists(Z)}), "file")
    figures = scored(capsys, "file", "y.npy", "--logits-column", "field.of_it")
    assert figures == sx.score(Z, Y).as_dict()
