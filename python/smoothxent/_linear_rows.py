"""The rows of a linear layer that count, what belongs to them, and what divides their losses.

Rows that do not count (ignored, of weight 0, without a class) never get to a product: it would take time,
and what their padding holds would reach the gradient of the weights, as 0 times nan.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from smoothxent._exact import exact_sums
from smoothxent._pieces import LEN, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import DTypeLike, NDArray

    _Index = tuple[slice | NDArray[np.intp], ...]


class CountedRows:
    """The rows that count, in C order, of arrays with axes of rows of `shape`, in any memory layout."""

    def __init__(
        self, shape: tuple[int, ...], targets: NDArray[Any], options: Mapping[str, Any]
    ) -> None:
        self._shape, self._targets, self._given = shape, targets, options
        counted = self._counted()
        self.count = int(np.count_nonzero(counted))
        self.others: NDArray[np.bool_] | None = None if self.count == counted.size else ~counted
        """Which rows do not count, if there are any."""
        self._numbers = None if self.others is None else np.flatnonzero(counted)
        self._for_all, self._by_row = dict(options), {}
        for name, class_axes in (("prior", 1), ("where", 1), ("sample_weight", 0)):
            if (array := options.get(name)) is None:
                continue
            axes = array.ndim - class_axes
            rows, own = array.shape[:axes], array.shape[axes:]
            if all(n == 1 for n in rows):
                self._for_all[name] = array.reshape(own)
            else:
                self._by_row[name] = np.broadcast_to(array, (*self._shape, *own))

    def index(self, start: int, stop: int) -> _Index:
        """Return the places of the rows from one to another, as an index for their axes."""
        if self._numbers is not None:
            numbers = self._numbers[start:stop]
        elif len(self._shape) == 1:
            return (slice(start, stop),)  # a view
        else:
            numbers = np.arange(start, stop)
        return np.unravel_index(numbers, self._shape)

    def targets(self, at: _Index) -> NDArray[Any]:
        """Return the targets of these rows."""
        return self._targets[at]

    def options(self, at: _Index) -> dict[str, Any]:
        """Return the options of the loss of these rows."""
        return {**self._for_all, **{name: array[at] for name, array in self._by_row.items()}}

    def divisor(self, reduction: str) -> float:
        """Return what divides the sum of the losses, 1 where nothing does; refuse one too large."""
        if reduction == "sum_by_nonzero_weights":
            return float(self.count)
        if reduction != "mean":
            return 1.0
        masses = self._masses()[self.index(0, self.count)].reshape(1, -1)
        total = exact_sums(masses)[0].value()
        if not np.isfinite(total):
            raise ValueError(
                "the weights of all rows sum to inf; pass smaller weights, or a normalizer"
            )
        return total

    def _is_labels(self) -> bool:
        return self._targets.ndim == len(self._shape)

    def _counted(self) -> NDArray[np.bool_]:
        counted = np.ones(self._shape, np.bool_)
        ignored = self._given.get("ignore_index", -100)
        if self._is_labels() and ignored is not None:
            counted &= self._targets != operator.index(ignored)
        if (where := self._given.get("where")) is not None:
            counted &= _of_rows(
                np.atleast_1d(where), np.bool_, lambda kept: np.asarray(kept.any(axis=-1))
            )
        if (weight := self._given.get("sample_weight")) is not None:
            counted &= weight != 0.0
        return counted

    def _masses(self) -> NDArray[np.float64]:
        """Return s times the sum of c_k q(k) of every row, and anything for ignored ones."""
        weight, c = (_float64(self._given.get(name)) for name in ("sample_weight", "class_weight"))
        if not self._is_labels():
            masses = _of_rows(
                self._targets, np.float64, lambda q: (q.astype(np.float64) * c).sum(axis=-1)
            )
        elif c.ndim:
            masses = c.take(self._targets, mode="clip")
        else:
            masses = np.ones(self._shape)
        with np.errstate(over="ignore"):
            return masses * weight


def _float64(weights: NDArray[Any] | None) -> NDArray[np.float64]:
    return np.asarray(1.0 if weights is None else weights, np.float64)


def _of_rows(
    array: NDArray[Any], dtype: DTypeLike, reduce: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """Return one value for each row of `array`, whose classes are along the last axis."""
    result = np.empty(array.shape[:-1], dtype)
    for at in pieces(result.shape, LEN // max(1, array.shape[-1])):
        result[at] = reduce(array[at])
    return result
