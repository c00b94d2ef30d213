"""Operations on large arrays in pieces: Ctrl-C is answered between two calls of NumPy, never within one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from smoothxent._types import DTypeLike, NDArray

Index = tuple[slice | EllipsisType, ...]
# Elements of a piece: a millisecond of work, and 2 MB in float64, which fit in the caches.
LEN = 1 << 18
# The same if each element needs random access to memory: a class of its row, a search.
FAR = 1 << 14
# Elements of a contiguous run in the target of a copy. A piece has 16 runs: in new memory, each may be the
# first to touch a page, of up to 2 MB.
_RUN = 1 << 14
SEQUENCES = (list, tuple, range)


def pieces(shape: tuple[int, ...], most: int | None = None) -> Iterator[Index]:
    """Yield the indices of the pieces of an array of `shape`, in C order: a slice for each axis.

    They have up to `most` elements, `LEN` if it is not given.
    """
    length = max(1, LEN if most is None else most)
    cut, inner = len(shape), 1
    while cut > 0 and inner * shape[cut - 1] <= length:
        cut -= 1
        inner *= shape[cut]
    whole = tuple(slice(0, n) for n in shape[cut:])
    if cut == 0:
        yield whole or (...,)  # without axes, () would give an element
        return
    step = length // inner
    for outer in np.ndindex(shape[: cut - 1]):
        for start in range(0, shape[cut - 1], step):
            stop = min(start + step, shape[cut - 1])
            yield (*(slice(i, i + 1) for i in outer), slice(start, stop), *whole)


def copy(target: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy `source` to `target`, of the same shape, as numpy.copyto does with casting="unsafe"."""
    order = sorted(range(target.ndim), key=lambda axis: -abs(target.strides[axis]))
    source, target = source.transpose(order), target.transpose(order)
    inner = range(target.ndim)[::-1]
    nearest = sorted(inner, key=lambda axis: abs(source.strides[axis]))
    # A piece extends first along the target, then along the source: few new pages, and whole cache lines.
    piece = [1] * target.ndim
    for axes, most in ((inner, min(_RUN, LEN)), (nearest, LEN), (inner, LEN)):
        for axis in axes:
            longer = piece[axis] * (most // math.prod(piece))
            piece[axis] = max(1, min(longer, target.shape[axis]))
    for starts in itertools.product(*(range(0, n, step) for n, step in zip(target.shape, piece))):
        at: Index = (*(slice(i, i + step) for i, step in zip(starts, piece)), ...)
        np.copyto(target[at], source[at], casting="unsafe")


def copied(array: NDArray[Any]) -> NDArray[Any]:
    """Return a new array of the same elements."""
    result = allocated(np.empty, array.shape, array.dtype)
    copy(result, array)
    return result


def cast(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return `array.astype(dtype, copy=False)`."""
    if array.size <= LEN or array.dtype == dtype:
        return array.astype(dtype, copy=False)
    result = allocated(np.empty_like, array, dtype)
    copy(result, array)
    return result


def allocated(make: Callable[..., NDArray[Any]], *arguments: Any) -> NDArray[Any]:
    """Return `make(*arguments)`, a new array, which must not have too many axes."""
    try:
        return make(*arguments)
    except ValueError as error:  # more bytes than there are addresses
        raise MemoryError(str(error)) from None


def of_sequence(obj: Sequence[Any]) -> NDArray[Any]:
    """Return `numpy.asarray(obj)`, where `obj` is of the types in `SEQUENCES`.

    If there are many items, of several types, the result has the type to which NumPy promotes them
    all; if that is not a type of numbers, the result is an array of this type with one element.
    """
    numbers = _numbers(obj)
    if numbers <= LEN:
        return np.asarray(obj)
    step = max(1, LEN * len(obj) // numbers)
    starts = range(0, len(obj), step)
    parts = [_of_part(obj, start, min(start + step, len(obj))) for start in starts]
    dtype, shape = np.result_type(*{part.dtype for part in parts}), parts[0].shape[1:]
    for start, part in zip(starts, parts, strict=True):
        if part.shape[1:] != shape:
            other = part.shape[1:]
            raise ValueError(f"item 0 has shape {shape}, and item {start} has shape {other}")
    if dtype.kind in "OSUMm":
        return np.empty(1, dtype)
    result = np.empty((len(obj), *shape), dtype)
    for start, part in zip(starts, parts, strict=True):
        copy(result[start : start + step], part)
    return result


def _of_part(obj: Sequence[Any], start: int, stop: int) -> NDArray[Any]:
    if stop == start + 1 and isinstance(obj[start], SEQUENCES):
        return of_sequence(obj[start])[np.newaxis]
    try:
        return np.asarray(obj[start:stop])
    except ValueError as error:
        raise ValueError(f"{error} (items {start} to {stop - 1})") from None


def _numbers(obj: Any) -> int:
    """Return how many numbers there are if all items are like the first."""
    if isinstance(obj, SEQUENCES):
        return len(obj) * _numbers(obj[0]) if obj else 0
    return obj.size if isinstance(obj, np.ndarray) else 1


def first(
    shape: tuple[int, ...], is_bad: Callable[[Index], NDArray[np.bool_]]
) -> tuple[int, ...] | None:
    """Return the first index, in C order, at which `is_bad`, called for each piece, is True."""
    for at in pieces(shape):
        bad = is_bad(at)
        if bad.any():
            place = np.unravel_index(bad.argmax(), bad.shape)
            starts = (cut.start for cut in at if isinstance(cut, slice))
            return tuple(start + int(i) for start, i in zip(starts, place, strict=True))
    return None
