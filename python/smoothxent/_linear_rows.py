"""The rows of a linear layer that count, what belongs to them, and what divides their losses.

Rows that do not count (ignored, of weight 0, without a class) never get to a product: it would take time,
and what their padding holds would reach the gradient of the weights, as 0 times nan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from smoothxent._exact import exact_sums
from smoothxent._loss_options import counted_rows, target_masses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    _Index = tuple[slice | NDArray[np.intp], ...]


class CountedRows:
    """The rows that count, in C order, of arrays with axes of rows of `shape`, in any memory layout."""

    def __init__(
        self, shape: tuple[int, ...], targets: NDArray[Any], options: Mapping[str, Any]
    ) -> None:
        self._shape, self._targets, self._given = shape, targets, options
        is_counted = counted_rows(shape, targets, options)
        self.count = int(np.count_nonzero(is_counted))
        self.others = None if self.count == is_counted.size else ~is_counted
        """Which rows do not count, if there are any."""
        self._numbers = None if self.others is None else np.flatnonzero(is_counted)
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
        masses = target_masses(self._shape, self._targets, self._given.get("class_weight"))
        masses = np.broadcast_to(1.0 if masses is None else masses, self._shape)
        if (weights := self._given.get("sample_weight")) is not None:
            with np.errstate(over="ignore"):
                masses = masses * weights.astype(np.float64)
        total = exact_sums(masses[self.index(0, self.count)].reshape(1, -1))[0].value()
        if not np.isfinite(total):
            raise ValueError(
                "the weights of all rows sum to inf; pass smaller weights, or a normalizer"
            )
        return total
