"""Files that are read in chunks of rows: .npy by NumPy, Parquet and Arrow by pyarrow.

.npy and uncompressed Arrow files are mapped into memory and read without a copy; batches of Parquet
and of compressed Arrow files are decoded by pyarrow, and then read without a copy.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from smoothxent._scoring import default_chunk_rows
from smoothxent._types import NDArray, Rows


class MissingPackage(ImportError):
    """An optional package is needed but not installed."""


class BadFile(ValueError):
    """The contents of a file are not as expected."""


def optional(module: str, what_for: str) -> Any:
    """Return an optional module, imported now."""
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise MissingPackage(
            f"{what_for} needs {package}: python -m pip install 'smoothxent[cli]'"
        ) from None


def open_rows(path: Path, column: str | None, default: str) -> Rows:
    """Return the rows of a file; for a Parquet or Arrow file those of `column`.

    If that is None, they are those of the only column, or of the column named `default`.
    """
    with path.open("rb") as file:
        magic = file.read(6)
    if magic == b"\x93NUMPY":
        if column is not None:
            raise BadFile(f"{path} is a .npy file and has no column {column!r}")
        return open_array(path)
    for start, kind in ((b"PAR1", _ParquetRows), (b"ARROW1", _ArrowRows)):
        if magic.startswith(start):
            with _reading(path):
                return kind(path, column, default)
    raise BadFile(f"{path} is no .npy, Parquet or Arrow file")


def open_array(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file, mapped into memory."""
    try:
        array = np.lib.format.open_memmap(path, mode="r").view(np.ndarray)
        _check_size(array.shape)
        return array
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a malformed header raises nearly anything
        raise BadFile(f"{path} cannot be read as a .npy file: {error}") from None


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file in errors of pyarrow, which may be nearly any error if the file is malformed."""
    try:
        yield
    except (BadFile, MissingPackage):
        raise
    except Exception as error:
        # Only an OSError of the system has an errno; others are about the content of the file.
        of_system = isinstance(error, OSError) and error.errno is not None
        kind = OSError if of_system else MemoryError if isinstance(error, MemoryError) else BadFile
        raise kind(f"{path} cannot be read: {str(error).rstrip()}") from None


def _check_size(shape: tuple[int, ...]) -> None:
    """Refuse a shape that is too large for an array of 8-byte numbers; axes of length 0 do not count, as in NumPy."""
    if 8 * math.prod(n or 1 for n in shape) > sys.maxsize:
        raise ValueError(f"its shape is {shape}, which is too large")


class BatchedRows:
    """Rows of a column of pyarrow, which come in batches. One batch is held at a time."""

    def __init__(self, field: Any, path: Path, lengths: list[int]) -> None:
        """`lengths` are the numbers of rows of the groups of batches, at which `batches_from` begins."""
        pa = optional("pyarrow", "reading Parquet and Arrow files")
        self._path, self._place = path, f"column {field.name!r} of {path}"
        kind, row_shape = field.type, tuple[int, ...]()
        if pa.types.is_fixed_size_list(kind):
            kind, row_shape = kind.value_type, (kind.list_size,)
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise BadFile(
                f"{self._place} has the type {field.type}, expected fixed-size lists of floats, or integers"
            )
        self.dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
        self.shape: tuple[int, ...] = (sum(lengths), *row_shape)
        if min([*lengths, *row_shape], default=0) < 0:
            raise BadFile(f"{self._place} has a negative number of rows or classes")
        _check_size(self.shape)
        self._ends = list(accumulate(lengths))
        self._batches: Iterator[Any] = iter(())
        self._first, self._batch = 0, np.empty((0, *row_shape), self.dtype)

    def batches_from(self, group: int) -> Iterator[Any]:
        """Yield the batches, as pyarrow arrays, from the beginning of a group."""
        raise NotImplementedError

    def end_of_piece(self, start: int) -> int:
        """Return the end of the batch with this row."""
        if not self._first <= start < self._first + len(self._batch):
            with _reading(self._path):
                self._go_to(start)
        return self._first + len(self._batch)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Return rows of one batch."""
        if rows.start == rows.stop:
            return self._batch[:0]
        self.end_of_piece(rows.start)
        return self._batch[rows.start - self._first : rows.stop - self._first]

    def _go_to(self, row: int) -> None:
        """Read batches up to the one with this row."""
        end = self._first + len(self._batch)
        if row != end or end == 0:
            group = bisect_right(self._ends, row)
            self._batches, end = self.batches_from(group), ([0, *self._ends])[group]
        batch = None
        while end <= row:
            batch = next(self._batches, None)
            if batch is None:
                raise BadFile(f"{self._place} has fewer rows than its file says")
            batch.validate()  # pyarrow would abort the process at a negative length
            self._first, end = end, end + len(batch)
        self._batch = self._as_array(batch)

    def _as_array(self, batch: Any) -> NDArray[Any]:
        values = batch.flatten() if self.shape[1:] else batch
        if batch.null_count or values.null_count:
            row = self._first + _row_of_missing(batch)
            raise BadFile(f"{self._place} has a missing value in row {row}")
        array: NDArray[Any] = values.to_numpy(zero_copy_only=True)
        return array.reshape(len(batch), *self.shape[1:])


def _row_of_missing(batch: Any) -> int:
    """Return the first row of a batch that is missing or has a missing value; there is one."""
    row: int = batch.is_null().index(True).as_py() if batch.null_count else len(batch)
    if hasattr(batch.type, "list_size"):
        before = batch.slice(0, row).flatten()  # of a batch with missing rows it would omit these
        if before.null_count:
            row = before.is_null().index(True).as_py() // batch.type.list_size
    return row


class _ArrowRows(BatchedRows):
    def __init__(self, path: Path, column: str | None, default: str) -> None:
        pa = optional("pyarrow", "reading Arrow files")
        source = pa.memory_map(str(path))
        self._file = pa.ipc.open_file(source)
        # Without columns a batch is not decoded; with some of its columns it would be copied.
        bare = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=[]))
        self._places = range(self._file.num_record_batches)
        self._index = _index(self._file.schema, column, default, path)
        lengths = [bare.get_batch(place).num_rows for place in self._places]
        super().__init__(self._file.schema.field(self._index), path, lengths)

    def batches_from(self, group: int) -> Iterator[Any]:
        return (self._file.get_batch(place).column(self._index) for place in self._places[group:])


class _ParquetRows(BatchedRows):
    def __init__(self, path: Path, column: str | None, default: str) -> None:
        parquet = optional("pyarrow.parquet", "reading Parquet files")
        self._file = parquet.ParquetFile(path, memory_map=True)
        self._groups = list(range(self._file.num_row_groups))
        schema = self._file.schema_arrow
        self._field = schema.field(_index(schema, column, default, path))
        lengths = [self._file.metadata.row_group(group).num_rows for group in self._groups]
        super().__init__(self._field, path, lengths)

    def batches_from(self, group: int) -> Iterator[Any]:
        batches = self._file.iter_batches(
            default_chunk_rows(self.shape, self.dtype),
            row_groups=self._groups[group:],
            columns=[self._field.name],
        )
        # By name: pyarrow also reads the fields of a struct whose paths begin with this name.
        return (batch.column(self._field.name) for batch in batches)


def _index(schema: Any, column: str | None, default: str, path: Path) -> int:
    if column is None and len(schema.names) == 1:
        return 0
    column = default if column is None else column
    count = schema.names.count(column)
    if count == 0:
        raise BadFile(f"{path} has no column {column!r}, but {', '.join(map(repr, schema.names))}")
    if count > 1:
        raise BadFile(f"{path} has {count} columns {column!r}")
    index: int = schema.names.index(column)
    return index
