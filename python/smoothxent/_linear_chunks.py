"""The cross-entropy of a linear layer, in chunks of rows: only the logits of one chunk are in memory.

    for each chunk of rows:
        z       = h W^T + b
        loss   += cross_entropy(z)                  divided by the divisor of all rows
        g       = its gradient, which overwrites z
        dh      = g W,   dW += g^T h,   db += the sum of the rows of g
        progress(rows so far, rows)

The divisor is computed from the targets and weights of all rows before the first product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, SupportsFloat, SupportsIndex

import numpy as np

from smoothxent import _linear_checks as checks
from smoothxent._exact import exact_sum
from smoothxent._gradients import cross_entropy_value_and_grad
from smoothxent._linear_products import Gradients, Layer, Products
from smoothxent._loss_options import LossOptions, counted_rows, target_masses
from smoothxent._losses import cross_entropy
from smoothxent._options import between
from smoothxent._pieces import allocated
from smoothxent._types import ArrayLike, NDArray, Output, Reduction

_Index = tuple[slice | NDArray[np.intp], ...]

# The gradient of the weights is read and written once a chunk, which takes as long as the products of
# some 30 rows for any shape: with fewer rows than these in a chunk that would be noticeable.
_LEAST_ROWS = 384
# Bytes of logits and hidden rows of a chunk, if that is more rows.
_CHUNK_BYTES = 1 << 24


class Settings(NamedTuple):
    """The arguments of both functions, apart from the layer and its targets."""

    function: str
    chunk_rows: SupportsIndex | None
    progress: Callable[[int, int], object] | None
    reduction: Reduction
    normalizer: SupportsFloat | None
    options: LossOptions


class Job:
    """One call: checked as a whole when it is made, before anything is computed."""

    def __init__(
        self,
        hidden: ArrayLike,
        weight: ArrayLike,
        targets: ArrayLike,
        bias: ArrayLike | None,
        settings: Settings,
    ) -> None:
        self._settings = settings
        self._layer = checks.layer(hidden, weight, bias)
        self._options = checks.options(settings.options, settings.function)
        if settings.progress is not None and not callable(settings.progress):
            raise TypeError(f"progress must be callable, got {type(settings.progress).__name__}")
        given, default = settings.chunk_rows, default_chunk_rows(self._layer)
        most = default if given is None else between(given, "chunk_rows", 1)
        self._targets = checks.targets(
            targets, self._layer, self._options, settings.reduction, settings.normalizer
        )
        self._hidden = np.atleast_2d(self._layer.hidden)  # a single row becomes an array of one row
        of_rows = self._targets if self._layer.hidden.ndim > 1 else self._targets[np.newaxis]
        with np.errstate(all="ignore"):  # overflow is refused
            self._rows = CountedRows(self._hidden.shape[:-1], of_rows, self._options)
            self._step = _balanced(self._rows.count, most)
            self._divisor = self._rows.divisor(settings.reduction, settings.normalizer)

    def loss_and_gradients(
        self, given: dict[str, Output | None]
    ) -> tuple[float | NDArray[Any], Any, Any, Any]:
        """Return the loss and the gradients, in the given arrays or tensors."""
        layer = self._layer
        outs = checks.outputs(given, layer, {"targets": self._targets, **self._options})
        hidden_grad, weight_grad, bias_grad = outs
        sums = None if bias_grad is None else allocated(np.zeros, bias_grad.shape)
        loss = self.loss(Gradients(np.atleast_2d(hidden_grad), weight_grad, sums))
        if bias_grad is not None:
            with np.errstate(all="ignore"):
                bias_grad[...] = sums
        # A given tensor is itself returned, not the array of its memory.
        hidden_grad, weight_grad, bias_grad = (
            new if old is None else old for old, new in zip(given.values(), outs, strict=True)
        )
        return loss, hidden_grad, weight_grad, bias_grad

    def loss(self, gradients: Gradients | None = None) -> float | NDArray[Any]:
        """Return the loss, and add up the gradients if they are requested."""
        rows, settings, layer, hidden = self._rows, self._settings, self._layer, self._hidden
        losses = None
        if settings.reduction == "none":
            losses = allocated(np.zeros, hidden.shape[:-1], hidden.dtype)
        products = Products(layer, self._step, with_gradients=gradients is not None)
        if gradients is not None and rows.others is not None:
            gradients.hidden[rows.others] = 0.0
        # If the divisor is 0, nothing is computed: the gradient is 0 where the loss is 0 / 0.
        count = rows.count if self._divisor else 0
        if gradients is not None and count == 0:
            gradients.hidden[...] = gradients.weight[...] = 0.0
        sums = []
        for start in range(0, count, self._step):
            stop = min(start + self._step, count)
            at = rows.index(start, stop)
            with np.errstate(all="ignore"):  # infinities and nan are results
                h = np.require(hidden[at], requirements=["C", "A"])
                z = products.logits(h)
                loss = self._of_chunk(z, at, with_grad=gradients is not None)
                if gradients is not None:  # the gradient has overwritten z
                    gradients.hidden[at] = products.add_gradients(
                        h, z, gradients, is_first=start == 0
                    )
            if losses is None:
                sums.append(loss)
            else:
                losses[at] = loss
            if settings.progress is not None:
                settings.progress(stop, count)
        if losses is not None:
            return losses.reshape(layer.hidden.shape[:-1])
        if settings.reduction == "mean" and not self._divisor:
            return math.nan
        return exact_sum(np.array(sums, np.float64)).value()

    def _of_chunk(self, logits: NDArray[Any], at: _Index, *, with_grad: bool) -> Any:
        """Return the part of the loss that belongs to these rows; the gradient, if any, overwrites the logits."""
        is_mean = self._settings.reduction not in ("none", "sum")
        arguments = {
            "reduction": self._settings.reduction,
            "normalizer": self._divisor if is_mean else None,
            **self._rows.arguments(at),
        }
        if with_grad:
            return cross_entropy_value_and_grad(logits, grad_out=logits, **arguments)[0]
        return cross_entropy(logits, **arguments)


class CountedRows:
    """The rows that count, in C order, of arrays with axes of rows of `shape`, in any memory layout.

    The others (ignored, of weight 0, without a class) are left out of the products: these would take time, and
    a nan in padding would reach the gradient of the weights, as 0 times nan.
    """

    def __init__(
        self, shape: tuple[int, ...], targets: NDArray[Any], options: Mapping[str, Any]
    ) -> None:
        self._shape, self._targets, self._given = shape, targets, options
        is_counted = counted_rows(shape, targets, options)
        self.count = int(np.count_nonzero(is_counted))
        self.others = None if self.count == is_counted.size else ~is_counted
        """Which rows do not count, if there are any."""
        self._numbers = None if self.others is None else np.flatnonzero(is_counted)
        self._for_all, self._by_row = dict(options), {"targets": targets}
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
        """Return an index, for the axes of rows, of the counted rows from `start` to `stop`."""
        if self._numbers is not None:
            numbers = self._numbers[start:stop]
        elif len(self._shape) == 1:
            return (slice(start, stop),)  # a view
        else:
            numbers = np.arange(start, stop)
        return np.unravel_index(numbers, self._shape)

    def arguments(self, at: _Index) -> dict[str, Any]:
        """Return the targets and the options of the loss of these rows."""
        return {**self._for_all, **{name: array[at] for name, array in self._by_row.items()}}

    def divisor(self, reduction: str, normalizer: SupportsFloat | None) -> float:
        """Return the divisor of the sum of the losses, 1 if there is none; refuse one that is infinite."""
        if normalizer is not None:
            return float(normalizer)
        if reduction == "sum_by_nonzero_weights":
            return float(self.count)
        if reduction != "mean":
            return 1.0
        at = self.index(0, self.count)
        masses = target_masses(self._shape, self._targets, self._given.get("class_weight"))[at]
        products = masses
        if (weights := self._given.get("sample_weight")) is not None:
            products = masses * np.broadcast_to(weights.astype(np.float64), self._shape)[at]
        total = exact_sum(products).value()
        if not np.isfinite(total) or (total == 0 and masses.any()):
            other = "larger" if total == 0 else "smaller"
            raise ValueError(
                f"the weights of all rows sum to {total:g}; pass {other} weights, or a normalizer"
            )
        return total


def default_chunk_rows(layer: Layer) -> int:
    """Return how many rows a chunk has at most, by default."""
    numbers_of_row = sum(layer.weight.shape)
    return max(_LEAST_ROWS, _CHUNK_BYTES // (layer.hidden.itemsize * numbers_of_row))


def _balanced(count: int, most: int) -> int:
    """Return the number of rows of a chunk, at most `most`, with which chunks have about the same size."""
    chunks = -(-count // most)
    return -(-count // chunks) if chunks else 1
