"""Several axes of classes seen as one: `axis` as None or a tuple, and rows without classes.

The classes of a row are those of all its axes in C order, whatever the order of the tuple and the
layout in memory: the order of summation, and so every bit, depends on nothing else.

    as one axis    a view where the strides of the axes are those of one, as in every C-contiguous
                   array whose axes of classes are neighbours
    otherwise      a copy, piece by piece for Ctrl-C, and for a result a copy back

One axis never comes here, but where `logsumexp` has no classes: the native code takes it as it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from smoothxent import _checks, _options
from smoothxent import _smoothxent as _native
from smoothxent._arrays import as_logits, as_mask
from smoothxent._pieces import allocated, copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import SupportsFloat

    from numpy.typing import ArrayLike, DTypeLike, NDArray


def softmax(
    function: Callable[..., NDArray[Any]],
    logits: ArrayLike,
    axis: object,
    temperature: SupportsFloat,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: NDArray[Any] | None,
) -> NDArray[Any]:
    """Return what `function`, the softmax or its logarithm, gives along several axes."""
    given = _axes(axis)
    array = as_logits(logits, "logits")
    axes = _in_order(given, array.ndim)
    if 0 in (array.shape[i] for i in axes) and 0 not in _rows(array.shape, axes):
        raise ValueError(f"logits has 0 classes along axes {axes}, expected at least 1")
    # Of no rows: says what is wrong with the options, and the type of the result.
    own = function(np.empty((0, 1), array.dtype), -1, temperature, None, dtype, None).dtype
    mask = _mask(where, array.shape, axes)
    result = (
        allocated(np.empty, array.shape, own) if out is None else _checks.output(out, array.shape)
    )
    written = _view_as_one(result, axes)
    target = written
    if target is None:
        target = allocated(np.empty, _shape_as_one(result.shape, axes), result.dtype)
    function(_as_one(array, axes), -1, temperature, mask, dtype, target)
    if written is None:
        apart = result.transpose(_rows_first(result.ndim, axes))
        copy(apart, target.reshape(apart.shape))
    if out is not None:
        return out
    return result if result.ndim else result[()]


def logsumexp(
    logits: ArrayLike,
    axis: object,
    temperature: SupportsFloat,
    where: ArrayLike | None,
    keepdims: bool,
    out: NDArray[Any] | None,
) -> NDArray[Any]:
    """Return what the function of this name gives along any axes, also of no classes."""
    given = _axes(axis)
    array = as_logits(logits, "logits")
    axes = _in_order(given, array.ndim)
    # Of no rows: says what is wrong with the options.
    _native.logsumexp(np.empty((0, 1), array.dtype), -1, temperature, None, keepdims, None)
    rows = _rows(array.shape, axes)
    kept = tuple(1 if i in axes else n for i, n in enumerate(array.shape))
    written = out
    if out is not None and keepdims:
        written = _checks.output(out, kept).squeeze(axes)
    mask = _mask(where, array.shape, axes)
    if 0 in (array.shape[i] for i in axes):
        # Nothing to add up is as good as one class of logit -inf.
        classes, mask = np.broadcast_to(np.array(-np.inf, array.dtype), (*rows, 1)), None
    else:
        classes = _as_one(array, axes)
    result = _native.logsumexp(classes, -1, temperature, mask, False, written)
    if out is not None:
        return out
    return np.reshape(result, kept) if keepdims else result


def _axes(axis: object) -> tuple[int, ...] | None:
    """Return the axes as integers; None for all of them."""
    if axis is None:
        return None
    if isinstance(axis, tuple):
        return tuple(_options.integer(one, f"axis[{i}]") for i, one in enumerate(axis))
    if hasattr(axis, "__index__") and not isinstance(axis, bool):
        return (_options.integer(axis, "axis"),)
    raise TypeError(
        f"axis must be an integer, a tuple of integers or None, got {type(axis).__name__}"
    )


def _in_order(given: tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front, the first one first."""
    if given is None:
        return tuple(range(ndim))
    for axis in given:
        if not -ndim <= axis < ndim:
            raise np.exceptions.AxisError(axis, ndim, "logits")
    axes = sorted(axis % ndim for axis in given)
    if len(set(axes)) < len(axes):
        raise ValueError(f"axis must have each axis once, got {given}")
    return tuple(axes)


def _rows(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _rows_first(ndim: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    return (*(i for i in range(ndim) if i not in axes), *axes)


def _shape_as_one(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return (*_rows(shape, axes), math.prod(shape[i] for i in axes))


def _as_one(array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """Return `array` with `axes` as one, the last: a view, or where that cannot be a copy."""
    view = _view_as_one(array, axes)
    if view is not None:
        return view
    apart = array.transpose(_rows_first(array.ndim, axes))
    copied = allocated(np.empty, apart.shape, array.dtype)
    copy(copied, apart)
    return copied.reshape(_shape_as_one(array.shape, axes))


def _view_as_one(array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any] | None:
    """Return `array` with `axes` as one, the last, in the same memory; None if they are not one."""
    length, stride = 1, array.itemsize
    for i in reversed(axes):
        n, step = array.shape[i], array.strides[i]
        if n == 1 or array.size == 0:
            continue
        if length == 1:
            stride = step
        elif step != stride * length:
            return None
        length *= n
    # NumPy finds the same, and copies nothing.
    return array.transpose(_rows_first(array.ndim, axes)).reshape(_shape_as_one(array.shape, axes))


def _mask(
    where: ArrayLike | None, shape: tuple[int, ...], axes: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    """Return a mask with the axes of classes as one, broadcast along these alone."""
    if where is None:
        return None
    given = as_mask(where, "where")
    try:
        np.broadcast_to(given, shape)
    except ValueError:
        raise ValueError(
            f"where must be broadcastable to logits of shape {shape}, got {given.shape}"
        ) from None
    own = given[(np.newaxis,) * (len(shape) - given.ndim) + (...,)]
    wide = tuple(n if i in axes else m for i, (n, m) in enumerate(zip(shape, own.shape)))
    return _as_one(np.broadcast_to(own, wide), axes)
