"""Several axes of classes as one: `axis` is None or a tuple; and rows without classes.

The classes of a row are those of all these axes in C order, whatever the order of the tuple and the
memory layout. The order of summation, and so every bit, depends on nothing else.

    a view    if the strides of the axes are those of one axis, as in every C-contiguous array whose
              axes of classes are adjacent
    a copy    otherwise, made in pieces so that Ctrl-C is answered; results are copied back

A single axis is left to the native code, except that `logsumexp` without classes is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, SupportsFloat

import numpy as np

from smoothxent import _checks, _options
from smoothxent import _smoothxent as _native
from smoothxent._arrays import as_logits, as_mask
from smoothxent._pieces import allocated, copied, copy
from smoothxent._types import ArrayLike, DTypeLike, NDArray, Output


def softmax(
    function: Callable[..., NDArray[Any]],
    logits: ArrayLike,
    axis: object,
    temperature: SupportsFloat,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: Output | None,
) -> Output:
    """Return what `function`, the softmax or its logarithm, gives along several axes."""
    array = as_logits(logits, "logits")
    axes = _axes(axis, array.ndim)
    z, rows = _classes_last(array, axes), array.ndim - len(axes)
    if 0 in z.shape[rows:] and 0 not in z.shape[:rows]:
        raise ValueError(f"logits has 0 classes along axes {axes}, expected at least 1")
    # A call with no rows checks the options, and gives the dtype of the result.
    own = function(np.empty((0, 1), array.dtype), -1, temperature, None, dtype, None).dtype
    mask = _mask(where, array.shape, axes)
    result = (
        allocated(np.empty, array.shape, own) if out is None else _checks.output(out, array.shape)
    )
    written = _classes_last(result, axes)
    target = view = _view_as_one(written, rows)
    if target is None:
        target = allocated(np.empty, _shape_as_one(written, rows), result.dtype)
    function(_as_one(z, rows), -1, temperature, mask, dtype, target)
    if view is None:
        copy(written, target.reshape(written.shape))
    if out is not None:
        return out
    return result if result.ndim else result[()]


def logsumexp(
    logits: ArrayLike,
    axis: object,
    temperature: SupportsFloat,
    where: ArrayLike | None,
    keepdims: bool,
    out: Output | None,
) -> Output:
    """Return the logsumexp along any axes, which may have no classes."""
    array = as_logits(logits, "logits")
    axes = _axes(axis, array.ndim)
    # A call with no rows checks the options.
    _native.logsumexp(np.empty((0, 1), array.dtype), -1, temperature, None, keepdims, None)
    z, rows = _classes_last(array, axes), array.ndim - len(axes)
    kept = tuple(1 if i in axes else n for i, n in enumerate(array.shape))
    written = out
    if out is not None and keepdims:
        written = _checks.output(out, kept).squeeze(axes)
    mask = _mask(where, array.shape, axes)
    if 0 in z.shape[rows:]:
        # An empty sum is that of one class with logit -inf.
        minus_infinity = np.array(-np.inf, array.dtype)
        classes, mask = np.broadcast_to(minus_infinity, (*z.shape[:rows], 1)), None
    else:
        classes = _as_one(z, rows)
    result = _native.logsumexp(classes, -1, temperature, mask, False, written)
    if out is not None:
        return out
    return np.reshape(result, kept) if keepdims else result


def _axes(axis: object, ndim: int) -> tuple[int, ...]:
    """Return the axes counted from the front, in ascending order."""
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, tuple):
        given = tuple(_options.integer(one, f"axis[{i}]") for i, one in enumerate(axis))
    elif hasattr(axis, "__index__") and not isinstance(axis, bool):
        given = (_options.integer(axis, "axis"),)
    else:
        raise TypeError(
            f"axis must be an integer, a tuple of integers or None, got {type(axis).__name__}"
        )
    axes = sorted(_checks.axis_from_front(one, ndim, "logits") for one in given)
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis must have each axis once, got {given}")
    return tuple(axes)


def _classes_last(array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """Return a view with the axes of the rows, then those of the classes."""
    return array.transpose([*(i for i in range(array.ndim) if i not in axes), *axes])


def _shape_as_one(array: NDArray[Any], rows: int) -> tuple[int, ...]:
    return (*array.shape[:rows], math.prod(array.shape[rows:]))


def _as_one(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return `array` with all axes but the first `rows` merged into one: a view if possible, else a copy."""
    view = _view_as_one(array, rows)
    return copied(array).reshape(_shape_as_one(array, rows)) if view is None else view


def _view_as_one(array: NDArray[Any], rows: int) -> NDArray[Any] | None:
    """Return `array` with all axes but the first `rows` merged into one, as a view; None if this needs a copy."""
    length, stride = 1, array.itemsize
    for n, step in zip(reversed(array.shape[rows:]), reversed(array.strides[rows:])):
        if n == 1 or array.size == 0:
            continue
        if length == 1:
            stride = step
        elif step != stride * length:
            return None
        length *= n
    return array.reshape(_shape_as_one(array, rows))  # also a view for NumPy, not a copy


def _mask(
    where: ArrayLike | None, shape: tuple[int, ...], axes: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    """Return a mask with the axes of classes merged into one, broadcast along these axes only."""
    if where is None:
        return None
    given = as_mask(where, "where")
    _checks.broadcast("where", given, "logits", shape)
    own = given[(np.newaxis,) * (len(shape) - given.ndim) + (...,)]
    wide = tuple(n if i in axes else m for i, (n, m) in enumerate(zip(shape, own.shape)))
    return _as_one(_classes_last(np.broadcast_to(own, wide), axes), len(shape) - len(axes))
