"""The options of a loss that is computed in chunks of rows: their names, and what they mean for each row."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat, SupportsIndex, TypedDict

import numpy as np

from smoothxent._options import unexpected_keyword
from smoothxent._pieces import LEN, pieces
from smoothxent._types import ArrayLike, DTypeLike, NDArray


class LossOptions(TypedDict, total=False):
    """The options of `cross_entropy` that `score` and the loss of a linear layer take."""

    label_smoothing: SupportsFloat | None
    prior: ArrayLike | None
    class_weight: ArrayLike | None
    sample_weight: ArrayLike | None
    ignore_index: SupportsIndex | None
    where: ArrayLike | None
    temperature: SupportsFloat
    z_loss: SupportsFloat


def refuse_others(given: LossOptions, function: str, reasons: Mapping[str, str]) -> None:
    """Refuse other options; `reasons` says why those of `cross_entropy` are not among them."""
    for name in given:
        if name in reasons:
            raise TypeError(f"{function}() has no option {name}: {reasons[name]}")
        if name not in LossOptions.__annotations__:
            raise unexpected_keyword(function, name)


def counted_rows(
    shape: tuple[int, ...], targets: NDArray[Any], options: Mapping[str, Any]
) -> NDArray[np.bool_]:
    """Tell which rows, of axes of `shape`, count by the rules of `cross_entropy`."""
    is_counted = np.ones(shape, np.bool_)
    ignored = options.get("ignore_index", -100)
    if targets.ndim == len(shape) and ignored is not None:
        is_counted &= targets != operator.index(ignored)
    if (where := options.get("where")) is not None:
        kept = np.atleast_1d(where)
        is_counted &= _of_rows(kept, np.bool_, lambda kept: np.asarray(kept.any(axis=-1)))
    if (weights := options.get("sample_weight")) is not None:
        is_counted &= weights != 0.0
    return is_counted


def target_masses(
    shape: tuple[int, ...], targets: NDArray[Any], class_weight: NDArray[Any] | None
) -> NDArray[np.float64]:
    """Return the sum of c_k q(k) of every row, any number for ignored rows."""
    c = None if class_weight is None else class_weight.astype(np.float64)
    if targets.ndim == len(shape):
        # NumPy 2.0 takes no uint64 as indices.
        labels = targets.astype(np.intp, copy=False)
        return np.ones(shape) if c is None else c.take(labels, mode="clip")

    def mass(q: NDArray[Any]) -> NDArray[np.float64]:
        q = q.astype(np.float64, order="C")  # the same order of summation for any memory layout
        return np.asarray((q if c is None else q * c).sum(axis=-1))

    return _of_rows(targets, np.float64, mass)


def _of_rows(
    array: NDArray[Any], dtype: DTypeLike, reduce: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """Return one value for each row of `array`, whose classes are along the last axis."""
    result = np.empty(array.shape[:-1], dtype)
    for at in pieces(result.shape, LEN // max(1, array.shape[-1])):
        result[at] = reduce(array[at])
    return result
