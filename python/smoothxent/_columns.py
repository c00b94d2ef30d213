"""Data frames and columns of pandas, polars and pyarrow: their types, lists and missing values."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from smoothxent._imported import ARROW, ARROW_COLUMN, DATA_FRAME, PANDAS
from smoothxent._types import NDArray


def refuse_missing(obj: object, name: str, fill: str | None) -> None:
    """Refuse missing values, which NumPy would read as nan, converting integers to floats."""
    nullable = [dtype for dtype in pandas_dtypes(obj) if not isinstance(dtype, np.dtype)]
    if nullable:
        has_missing = bool(np.any(sys.modules["pandas"].isna(obj)))
        remedy, are_numbers = "fillna", all(dtype.kind in "biuf" for dtype in nullable)
    elif hasattr(obj, "__array__") and callable(getattr(obj, "null_count", None)):  # of polars
        has_missing, remedy, are_numbers = _has_nulls(obj), "fill_null", True
    else:
        columns = pyarrow_columns(obj)
        has_missing = any(_has_missing(column) for column in columns)
        remedy, are_numbers = "fill_null", all(_is_primitive(column) for column in columns)
    if has_missing:
        advice = decide(remedy, fill if are_numbers else None)  # not for categories and lists
        raise TypeError(f"{name} has missing values; {advice}")


def numbers_of_frame(obj: Any) -> object:
    """Return a data frame of nullable numbers as an array, of which NumPy would make one of objects; else `obj`."""
    dtypes = pandas_dtypes(obj) if isinstance(obj, DATA_FRAME()) else []
    if all(isinstance(dtype, np.dtype) for dtype in dtypes):
        return obj
    if not all(dtype.kind in "biuf" for dtype in dtypes):
        return obj
    return obj.to_numpy(np.result_type(*(getattr(dtype, "numpy_dtype", dtype) for dtype in dtypes)))


def _has_nulls(columns: Any) -> bool:
    """Tell whether columns of polars have nulls, also within their lists."""
    while hasattr(getattr(columns, "dtype", None), "inner"):
        columns = columns.explode()
    return bool(np.any(np.asarray(columns.null_count())))


def _has_missing(column: Any) -> bool:
    """Tell whether a pyarrow column has nulls, including those that are encoded as a value."""
    return bool(column.null_count if _is_primitive(column) else np.any(column.is_null()))


def _is_primitive(column: Any) -> bool:
    return bool(sys.modules["pyarrow"].types.is_primitive(column.type))


def pandas_dtypes(obj: object) -> list[Any]:
    """Return the dtypes of a pandas object, none for all others."""
    if not isinstance(obj, PANDAS()):
        return []
    one: Any = obj
    return list(one.dtypes) if isinstance(obj, DATA_FRAME()) else [one.dtype]


def pyarrow_columns(obj: object) -> list[Any]:
    """Return the columns of a pyarrow object, none for all others."""
    if not isinstance(obj, ARROW()):
        return []
    one: Any = obj
    return [one] if isinstance(obj, ARROW_COLUMN()) else list(one.columns)


def fixed_size_lists(obj: object) -> Any:
    """Return `obj` as a pyarrow column of fixed-size lists, also from pandas; None for all other objects."""
    if any(hasattr(dtype, "pyarrow_dtype") for dtype in pandas_dtypes(obj)):
        obj = getattr(obj, "array", obj)
        obj = obj.__arrow_array__() if hasattr(obj, "__arrow_array__") else obj
    if not isinstance(obj, ARROW_COLUMN()):
        return None
    column: Any = obj
    return column if sys.modules["pyarrow"].types.is_fixed_size_list(column.type) else None


def array_of_lists(column: Any, name: str) -> NDArray[Any]:
    """Return fixed-size lists as an array, without a copy unless they are in several chunks."""
    if hasattr(column, "chunks"):
        chunks = column.chunks
        column = chunks[0] if len(chunks) == 1 else column.combine_chunks()
    shape, kind = [len(column)], column.type
    has_missing = column.null_count > 0
    while hasattr(kind, "list_size"):
        shape.append(kind.list_size)
        column, kind = column.flatten(), kind.value_type
        has_missing |= _has_missing(column)
    if has_missing:
        raise TypeError(f"{name} has missing values; {decide('fill_null', None)}")
    return np.asarray(column).reshape(shape)


def decide(method: str, fill: str | None) -> str:
    example = "" if fill is None else f", for example with .{method}({fill})"
    return f"decide what they mean{example}"
