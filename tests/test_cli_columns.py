"""Which column and which rows of a Parquet or Arrow file the command reads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import smoothxent as sx
from cli_runs import CLASSES, ROWS, Y, Z, failed, in_folder, scored
from smoothxent import _cli_files
from ulp import assert_same_bits

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


@pytest.mark.parametrize("kind", ["uint8", "uint64", "int16", "float16", "float64"])
def test_types_of_columns(capsys, kind):
    """Integers are labels, or logits that are converted; floats of any width are read as they are."""
    z, y = (4 * abs(Z)).astype(kind), Y.astype(kind if "int" in kind else np.int8)
    pa.parquet.write_table(pa.table({"logits": lists(z), "targets": y}), "file")
    assert scored(capsys, "file", "file") == sx.score(z, y).as_dict()


def write_arrow(*pieces):
    batches = [pa.record_batch({"logits": lists(piece)}) for piece in pieces]
    with pa.ipc.new_file("file", pa.schema({"logits": lists(Z).type})) as file:
        for batch in batches:
            file.write_batch(batch)


def test_batches_without_rows(capsys):
    write_arrow(Z[:0], Z[:300], Z[:0], Z[300:], Z[:0])
    assert scored(capsys, "file", "y.npy") == sx.score(Z, Y).as_dict()


@pytest.mark.parametrize("kind", ["parquet", "no batch", "an empty batch"])
def test_files_without_rows(capsys, kind):
    if kind == "parquet":
        pa.parquet.write_table(pa.table({"logits": lists(Z[:0])}), "file")
    else:
        write_arrow(*[Z[:0]] * (kind == "an empty batch"))
    np.save("y.npy", Y[:0])
    assert scored(capsys, "file", "y.npy")["rows"] == 0


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_reading_begins_at_any_row(monkeypatch, kind):
    """--resume goes on within a batch, or between two. A group of rows of a Parquet file has several."""
    monkeypatch.setattr(_cli_files, "default_chunk_rows", lambda *_: 30)
    if kind == "parquet":
        pa.parquet.write_table(pa.table({"logits": lists(Z)}), "file", row_group_size=100)
    else:
        write_arrow(*np.split(Z, 5))
    for start in (0, 99, 100, 350, ROWS - 1):
        rows = _cli_files.open_rows(Path("file"), None, "logits")
        stop = rows.end_of_piece(start)
        assert start < stop <= ROWS
        assert_same_bits(rows[start:stop], Z[start:stop])
