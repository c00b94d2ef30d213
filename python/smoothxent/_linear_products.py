"""The matrix products of a linear layer for one chunk of rows, block by block of its classes.

With h the hidden rows of the chunk (n, D), W the weights (K, D) and z the logits (n, K):

    forward     z[:, block] = h W[block]^T + b[block]
    backward    g, the gradient, has overwritten the logits
                dh        += g[:, block] W[block]
                dW[block] += g[:, block]^T h
                db[block] += the sum of the rows of g[:, block]

The products are divided into blocks for three reasons: NumPy cannot add a product to an array in place, and
the workspace for it stays in the caches if it is small; weights of 16 bits are widened in a small workspace;
and Ctrl-C waits for one product only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from smoothxent._pieces import allocated
from smoothxent._types import NDArray

# Weights of a block, 4 MB in float32: larger blocks leave the caches before they are added, smaller ones are slower.
_BLOCK_WEIGHTS = 1 << 20
# The most multiply-adds of a product, a limit for chunks of many rows: 10 ms at 100 GFLOP/s.
_BLOCK_WORK = 1 << 29


class Layer(NamedTuple):
    """The arguments of the linear layer, checked."""

    hidden: NDArray[Any]
    """Any axes of rows, and D features along the last axis; float32 or float64."""
    weight: NDArray[Any]
    """(K, D), of the type of `hidden` or of 16 bits."""
    bias: NDArray[Any] | None
    """(K,), of the type of `hidden`."""


class Gradients(NamedTuple):
    """Where the gradients of a call are added up."""

    hidden: NDArray[Any]
    """Of the shape of the hidden rows."""
    weight: NDArray[Any]
    """(K, D)"""
    bias: NDArray[np.float64] | None
    """(K,)"""


class Products:
    """The products of one layer for chunks of up to `rows` rows, in workspaces that the chunks share."""

    def __init__(self, layer: Layer, rows: int, *, with_gradients: bool) -> None:
        self._layer = layer
        self._classes, width = layer.weight.shape
        dtype = layer.hidden.dtype
        numbers = min(_BLOCK_WEIGHTS // max(1, width), _BLOCK_WORK // max(1, rows * width))
        self._step = min(max(1, numbers), self._classes)
        self._logits = allocated(np.empty, (rows, self._classes), dtype)
        weight = layer.weight
        is_read_in_place = (
            weight.dtype == dtype
            and weight.flags.aligned
            and (weight.flags.c_contiguous or weight.flags.f_contiguous)
        )
        block = (self._step, width)
        self._weights = None if is_read_in_place else allocated(np.empty, block, dtype)
        if with_gradients:
            self._hidden_grad = allocated(np.empty, (rows, width), dtype)
            self._hidden_term = allocated(np.empty, (rows, width), dtype)
            self._weight_term = allocated(np.empty, block, dtype)

    def logits(self, hidden: NDArray[Any]) -> NDArray[Any]:
        """Return the logits of a chunk; the next call overwrites them."""
        logits = self._logits[: len(hidden)]
        for block, weights in self._blocks():
            of_block = logits[:, block]
            np.matmul(hidden, weights.T, out=of_block)
            if self._layer.bias is not None:
                of_block += self._layer.bias[block]
        return logits

    def add_gradients(
        self, hidden: NDArray[Any], grad: NDArray[Any], to: Gradients, *, is_first: bool
    ) -> NDArray[Any]:
        """Add the part of a chunk to the gradients of the layer, and return the gradient of its hidden rows.

        `grad` is the gradient with respect to the logits. The first chunk overwrites what was there.
        """
        of_hidden, term = (a[: len(hidden)] for a in (self._hidden_grad, self._hidden_term))
        for block, weights in self._blocks():
            of_block = grad[:, block]
            if block.start == 0:
                np.matmul(of_block, weights, out=of_hidden)
            else:
                of_hidden += np.matmul(of_block, weights, out=term)
            product = np.matmul(of_block.T, hidden, out=self._weight_term[: len(weights)])
            if is_first:
                to.weight[block] = product
            else:
                to.weight[block] += product
            if to.bias is not None:
                to.bias[block] += of_block.sum(axis=0)
        return of_hidden

    def _blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield the classes of each block, and their weights in the type of the products."""
        for start in range(0, self._classes, self._step):
            block = slice(start, min(start + self._step, self._classes))
            weights = self._layer.weight[block]
            if self._weights is not None:
                copy = self._weights[: len(weights)]
                np.copyto(copy, weights, casting="unsafe")  # to a wider type: exact
                weights = copy
            yield block, weights
