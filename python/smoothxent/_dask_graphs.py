"""The graphs of `smoothxent.dask`: which chunks each of `_dask_steps` gets; nothing is computed.

Classes are along the last axis. Indices are those of `dask.array.blockwise`: one for each axis of the rows, one
for the classes, and one for numbers that belong to a row, which are in one chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import dask.array as da
import numpy as np

from smoothxent import _dask_steps as steps
from smoothxent._dask_shares import BLOCK, Shares
from smoothxent._dask_steps import SEGMENT_SUMS, Doubles, Operation, Smoothing
from smoothxent._types import NDArray

Index = tuple[int, ...]

_FLOAT64 = np.dtype(np.float64)


def _blockwise(
    function: Callable[..., NDArray[Any]],
    index: Index,
    *arrays: tuple[da.Array, Index],
    dtype: np.dtype[Any] = _FLOAT64,
    **options: Any,
) -> da.Array:
    """Return the results of a function for chunks as they are: none is cut to align it with another."""
    return da.blockwise(
        function,
        index,
        *chain(*arrays),
        dtype=dtype,
        meta=_meta(len(index), dtype),
        concatenate=True,
        align_arrays=False,
        **options,
    )


def _meta(ndim: int, dtype: Any) -> NDArray[Any]:
    """Return an empty array that tells dask the type of chunks, so that it need not call a function to find it."""
    return np.empty((0,) * ndim, dtype)


def mapped(
    function: Callable[..., NDArray[Any]], array: da.Array, dtype: Any, **options: Any
) -> da.Array:
    """Return the result of a function for each chunk, of the same shape."""
    return da.map_blocks(function, array, dtype=dtype, meta=_meta(array.ndim, dtype), **options)


def of_whole_rows(
    function: Callable[..., NDArray[Any]], z: da.Array, *others: da.Array, dtype: np.dtype[Any]
) -> da.Array:
    """Return one number for each row, from chunks of whole rows; `others` have one number for each row, too."""
    rows = tuple(range(z.ndim - 1))
    of_others = [(other, rows) for other in others]
    return _blockwise(function, rows, (z, (*rows, z.ndim - 1)), *of_others, dtype=dtype)


def finished(
    operation: Operation,
    z: da.Array,
    dtype: np.dtype[Any],
    labels: da.Array | None = None,
    label_smoothing: float = 0.0,
    prior: Doubles | None = None,
) -> da.Array:
    """Return the logsumexp, the loss, or what `write` needs, of each row, whose classes are in several chunks.

    `dtype` is that of log-probabilities.
    """
    axes = tuple(range(z.ndim))
    rows, classes, numbers = axes[:-1], axes[-1], z.ndim
    shares = Shares.of(z.chunks[-1])
    starts, segments = shares.starts(), shares.segments()
    columns = list(map(len, starts))
    u = prior if label_smoothing > 0.0 else None
    has_prior = u is not None
    of_labels = [] if labels is None else [(labels, rows)]
    reduce: Callable[..., Doubles] = steps.reduce
    of_starts, of_shares = [], []
    if shares.lent.any():
        reduce = steps.reduce_parts
        of_starts = [(_in_chunks(np.array([*chain(*starts)]), columns), (classes,))]
        of_shares = [(_one_a_chunk(shares.lent), (classes,)), (_borrowed(z, shares), axes)]

    found = _blockwise(
        partial(steps.maxima, has_prior=has_prior, dtype=dtype),
        axes,
        (z, axes),
        *of_starts,
        adjust_chunks={classes: [(1 + has_prior) * count for count in columns]},
    )
    joined = _blockwise(
        partial(steps.join_maxima, has_prior=has_prior, begins=shares.begins()),
        (*rows, numbers),
        (found, axes),
        *of_labels,
        new_axes={numbers: 3},
    )
    first_classes = _one_a_chunk(np.cumsum([0, *shares.reduced[:-1]]))
    first_segments = _one_a_chunk(np.cumsum([0, *segments[:-1]]))
    of_prior = [] if u is None else [(_in_chunks(u, shares.reduced.tolist()), (classes,))]
    sums = _blockwise(
        partial(reduce, operation=operation, is_smoothed=label_smoothing > 0.0),
        axes,
        (z, axes),
        *of_shares,
        (joined, (*rows, numbers)),
        (first_classes, (classes,)),
        (first_segments, (classes,)),
        *of_labels,
        *of_prior,
        adjust_chunks={classes: [SEGMENT_SUMS * count for count in segments]},
    )
    prior_sum = None if u is None else math.fsum(u.tolist())
    smoothing = Smoothing(label_smoothing, prior_sum, z.shape[-1])  # which only losses read
    is_activation = operation in ("softmax", "log_softmax")
    return _blockwise(
        partial(steps.finish, operation=operation, dtype=dtype, smoothing=smoothing),
        (*rows, classes) if is_activation else rows,
        (sums, (*rows, numbers)),
        (joined, (*rows, numbers + 1)),
        new_axes={classes: 3} if is_activation else None,
        dtype=dtype if operation == "logsumexp" else _FLOAT64,
    )


def together_if_few(z: da.Array, axis: int) -> da.Array:
    """Return logits with all classes in one chunk if they are no more than a block, else unchanged."""
    classes = z.shape[axis]
    return z if classes > BLOCK else with_classes(z, axis, (classes,))


def with_classes(z: da.Array, axis: int, lengths: Sequence[int]) -> da.Array:
    """Return an array whose chunks have these numbers of classes along `axis`."""
    return z if z.chunks[axis] == lengths else z.rechunk({axis: lengths}, method="tasks")


def _borrowed(z: da.Array, shares: Shares) -> da.Array:
    """Return the classes that each chunk borrows: all that are lent, divided among the chunks that need them."""
    axes = tuple(range(z.ndim))
    lent = _blockwise(
        steps.edge,
        axes,
        (z, axes),
        (_one_a_chunk(shares.lent), axes[-1:]),
        adjust_chunks={axes[-1]: shares.lent.tolist()},
        dtype=z.dtype,
    )
    return with_classes(lent, axes[-1], tuple(shares.borrowed.tolist()))


def _one_a_chunk(values: NDArray[Any]) -> da.Array:
    return _in_chunks(values, [1] * len(values))


def _in_chunks(values: NDArray[Any], lengths: Iterable[int]) -> da.Array:
    return da.from_array(values, chunks=(tuple(lengths),))


def written(operation: Operation, z: da.Array, dtype: np.dtype[Any]) -> da.Array:
    """Return the probabilities of rows whose classes are in several chunks, or their logarithms."""
    axes = tuple(range(z.ndim))
    return _blockwise(
        partial(steps.write, operation=operation),
        axes,
        (z, axes),
        (finished(operation, z, dtype), (*axes[:-1], z.ndim)),
        dtype=dtype,
    )


def reduced(losses: da.Array, labels: da.Array, reduction: str) -> da.Array:
    """Return the sum or the mean of the losses of rows, 0-d."""
    rows = tuple(range(losses.ndim))
    numbers = losses.ndim
    sums = _blockwise(
        steps.loss_sums,
        (*rows, numbers),
        (losses, rows),
        (labels, rows),
        new_axes={numbers: 2},
        adjust_chunks=dict.fromkeys(rows, 1),
        dtype=np.dtype(np.object_),
    )
    of_sums = partial(steps.reduced_loss, reduction=reduction)
    return _blockwise(of_sums, (), (sums.sum(axis=rows), (0,)))
