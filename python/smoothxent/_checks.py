"""Checks of the arguments of functions in plain NumPy, with the error texts of the native code.

Each check returns the argument in the form that the arithmetic needs, or raises: TypeError for what
can never be right, LabelError for labels, ValueError for other values. The index in a message is
that of the first bad value, with rows in C order and the classes of a row last.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np

from smoothxent import _smoothxent as _native
from smoothxent._arrays import (
    FLOATS,
    as_labels,
    as_mask,
    as_numpy_real,
    is_supported_float,
)
from smoothxent._errors import LabelError, place_shown, reworded
from smoothxent._options import between, integer, number
from smoothxent._outputs import as_output, count_change
from smoothxent._pieces import LEN, Index, allocated, copied, first, pieces
from smoothxent._types import ArrayLike, DTypeLike, NDArray, Output, Rng

_MOST_AXES = 64  # the limit of NumPy 2
_SUMMED = 1 << 14


def unit_interval(value: SupportsFloat, name: str) -> float:
    """Return a number in [0, 1]."""
    given = number(value, name)
    if not 0.0 <= given <= 1.0:  # also refuses nan
        raise ValueError(f"{name} must be in [0, 1], got {given!r}")
    return given + 0.0  # -0.0 is 0.0


def label_smoothing(value: SupportsFloat | None, prior: object) -> float:
    """Return eps, which is 0 by default; a prior must not be given without it."""
    if value is not None:
        return unit_interval(value, "label_smoothing")
    if prior is None:
        return 0.0
    raise TypeError(
        "prior is given without label_smoothing; pass how much goes to it, for example label_smoothing=0.1"
    )


def axis_from_front(axis: SupportsIndex, ndim: int, of: str) -> int:
    """Return an axis, counted from the front."""
    given = integer(axis, "axis")
    if not -ndim <= given < ndim:
        raise np.exceptions.AxisError(given, ndim, of)
    return given % ndim


def class_count(num_classes: SupportsIndex | None) -> int:
    """Return the number of classes, which integer labels do not imply."""
    if num_classes is None:
        raise TypeError("num_classes is required for integer labels")
    count = between(num_classes, "num_classes", 1)
    if count > sys.maxsize:
        raise ValueError(f"num_classes must be at most {sys.maxsize}, got {count}")
    return count


def matching_class_count(num_classes: SupportsIndex | None, length: int, axis: int) -> int:
    """Return the number of classes of probabilities; `num_classes`, if given, must equal it."""
    if length == 0:
        raise ValueError(f"targets has 0 classes along axis {axis}, expected at least 1")
    if num_classes is not None and integer(num_classes, "num_classes") != length:
        raise ValueError(
            f"targets has {length} classes along axis {axis}, but num_classes is {num_classes}"
        )
    return length


def labels(targets: ArrayLike) -> NDArray[np.integer[Any]]:
    """Return a copy of integer labels, still unchecked: the labels that are checked are those that are used."""
    return copied(as_labels(targets, "targets"))


def ignored_label(ignore_index: SupportsIndex | None) -> int | None:
    """Return the label that marks ignored entries, which must be in range of an integer type."""
    ignored = None if ignore_index is None else integer(ignore_index, "ignore_index")
    if ignored is not None and not -(2**63) <= ignored < 2**64:
        raise ValueError(f"ignore_index must fit 64 bits, got {ignore_index!r}")
    return ignored


def classes_or_ignored(
    given: NDArray[np.integer[Any]],
    classes: int,
    ignored: int | None,
    starts: tuple[int, ...] = (),
    part: str = "",
) -> None:
    """Check that the labels that are not ignored are classes.

    If they are a part of the targets, `starts` is the index of its first label, or `part` names it.
    """
    place = first(
        given.shape, lambda at: ~is_class(given[at], classes) & is_kept(given[at], ignored)
    )
    if place is not None:
        whole = tuple(i + start for i, start in zip(place, starts or (0,) * len(place)))
        count = "is 1 class" if classes == 1 else f"are {classes} classes"
        raise LabelError(
            f"targets{place_shown(*whole)}{part} is {given[place]}, but there {count} (ignore_index is "
            f"{ignored})",
            whole,
            int(given[place]),
        )


def is_kept(given: NDArray[np.integer[Any]], ignored: int | None) -> NDArray[np.bool_]:
    """Tell which labels are not ignored."""
    return np.ones(given.shape, np.bool_) if ignored is None else np.asarray(given != ignored)


def all_classes(given: NDArray[np.integer[Any]], classes: int) -> None:
    """Check that all labels are classes, of a function that ignores none."""
    with reworded(lambda text: text.removesuffix(" (ignore_index is None)")):
        classes_or_ignored(given, classes, None)


def non_negative(values: NDArray[Any], axis: int, name: str, called: str) -> None:
    """Check that all numbers are finite and non-negative; those along `axis` are the last in order."""
    by_row = np.moveaxis(values, axis, -1)
    place = first(by_row.shape, lambda at: _is_invalid(by_row[at]))
    if place is not None:
        *row, last = place
        raise _invalid(values, (*row[:axis], last, *row[axis:]), name, called)


@np.errstate(all="ignore")  # a sum that overflows is not 1
def prior_values(u: NDArray[Any], axis: int) -> None:
    """Check that every distribution along `axis` is one: finite, non-negative, with sum 1."""
    non_negative(u, axis, "prior", "a prior")
    tolerance = 1e-6 * max(1.0, u.shape[axis] ** 0.5)
    total = sums(u.shape, axis, lambda at: u[at]).squeeze(axis)
    row = first(total.shape, lambda at: np.abs(total[at] - 1.0) > tolerance)
    if row is not None:
        shown = place_shown(*row[:axis], ":", *row[axis:]) if row else ""
        raise ValueError(
            f"prior{shown} sums to {total[row]}, expected 1 within {tolerance} "
            "(it is used as given: divide counts by their sum, or count labels with class_prior)"
        )


def sums(
    shape: tuple[int, ...], axis: int, values: Callable[[Index], NDArray[Any]]
) -> NDArray[np.float64]:
    """Return the sums along `axis`, kept with length 1, of an array of `shape` that is read in pieces.

    The order of the additions depends on the length of the axis alone: blocks of `_SUMMED` numbers
    are added one after the other, and NumPy adds the numbers of a block from a contiguous copy.
    """
    total = allocated(np.zeros, (*shape[:axis], 1, *shape[axis + 1 :]))
    most = LEN // max(1, min(shape[axis], _SUMMED))
    for rows in pieces((*shape[:axis], *shape[axis + 1 :]), most):
        whole = (*rows[:axis], slice(None), *rows[axis:])
        for start in range(0, shape[axis], _SUMMED):
            block = values((*rows[:axis], slice(start, start + _SUMMED), *rows[axis:]))
            by_row = np.ascontiguousarray(np.moveaxis(block, axis, -1), np.float64)
            total[whole] += np.expand_dims(by_row.sum(-1), axis)
    return total


def class_distribution(prior: ArrayLike, classes: int, *, read_values: bool = True) -> NDArray[Any]:
    """Return one prior of shape (K,); its values are checked if `read_values`."""
    u = as_numpy_real(prior, "prior")
    if u.shape != (classes,):
        raise ValueError(f"prior must have shape ({classes},), got {u.shape}")
    if read_values:
        prior_values(u, 0)
    return u


def aligned_prior(
    prior: ArrayLike | None, shape: tuple[int, ...], axis: int, *, read_values: bool
) -> NDArray[Any]:
    """Return a prior that broadcasts to `shape`; ones if there is none or its values are not needed."""
    if prior is None:
        return np.ones(())
    u = as_numpy_real(prior, "prior")
    own_axis = axis_of_prior(u, "smoothed labels", shape, axis)
    if not read_values:
        return np.ones(())
    prior_values(u, own_axis)
    return u.reshape(-1, *[1] * (len(shape) - 1 - axis)) if u.ndim == 1 else u


def axis_of_prior(u: NDArray[Any], to: str, shape: tuple[int, ...], axis: int) -> int:
    """Return the axis of the classes of a prior that broadcasts to a shape with the classes along `axis`."""
    classes = shape[axis]
    own_axis = 0 if u.ndim == 1 else axis - (len(shape) - u.ndim)
    fits = 0 <= own_axis < u.ndim <= len(shape) and u.shape[own_axis] == classes
    if fits and u.ndim > 1:
        fits = all(n in (1, m) for n, m in zip(u.shape[::-1], shape[::-1]))
    if not fits:
        raise ValueError(
            f"prior must have shape ({classes},) or be broadcastable to {to} of shape {shape}, "
            f"got {u.shape}"
        )
    return own_axis


def mask(where: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask, broadcast to smoothed labels of `shape`."""
    given = as_mask(where, "where")
    if math.prod(shape) > sys.maxsize:
        raise MemoryError(f"cannot allocate smoothed labels of shape {shape}")
    return broadcast("where", given, "smoothed labels", shape)


def broadcast(name: str, given: NDArray[Any], to: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an argument broadcast to a shape, as a view."""
    try:
        return np.broadcast_to(given, shape)
    except ValueError:
        raise ValueError(
            f"{name} must be broadcastable to {to} of shape {shape}, got {given.shape}"
        ) from None


def kept_masses(u: NDArray[Any], kept: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """Return the sum of `u` over the kept classes of each row, 0 only if there are none."""
    counts = sums(kept.shape, axis, lambda at: kept[at])
    if u.ndim == 0:  # 1 for all classes
        return counts
    u = np.broadcast_to(u, kept.shape)
    masses = sums(kept.shape, axis, lambda at: np.where(kept[at], u[at], 0.0))
    place = first(masses.shape, lambda at: (counts[at] > 0.0) & (masses[at] == 0.0))
    if place is not None:
        place = (*place[:axis], *place[axis + 1 :])
        row = f" of row {place_shown(*place)}" if place else ""
        raise ValueError(f"the prior{row} has no mass on the classes that where keeps")
    return masses


def weights(
    sample_weight: ArrayLike, labels: NDArray[np.integer[Any]], ignored: int | None
) -> NDArray[Any]:
    """Return the weights of the labels; those of ignored labels are not checked."""
    given = as_numpy_real(sample_weight, "sample_weight")
    weight = broadcast("sample_weight", given, "targets", labels.shape)
    place = first(labels.shape, lambda at: _is_invalid(weight[at]) & is_kept(labels[at], ignored))
    if place is not None:
        own = place[len(place) - given.ndim :]
        own = tuple(0 if n == 1 else i for i, n in zip(own, given.shape, strict=True))
        raise _invalid(given, own, "sample_weight", "weights")
    return weight


def generator(rng: Rng) -> np.random.Generator:
    """Return the generator that was given, or a new one from a seed."""
    expected = "rng must be a numpy.random.Generator, a non-negative seed or None"
    if isinstance(rng, (bool, np.bool)):
        raise TypeError(f"{expected}, got {rng!r}")
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{expected}, got {rng!r}") from None


def result(out: Output | None, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return the memory of `out` if a floating result of `shape` fits it, or a new array."""
    try:
        new = None if dtype is None else np.dtype(dtype)
    except TypeError:
        new = None
    if new is None or not is_supported_float(new):
        shown = repr(dtype) if new is None else str(new)
        raise TypeError(f"dtype must be {FLOATS}, got {shown}")
    if out is None:
        if len(shape) > _MOST_AXES:
            raise ValueError(
                f"the result would have {len(shape)} axes, but an array has at most {_MOST_AXES}"
            )
        try:
            return np.empty(shape, new)
        except ValueError:  # more bytes than there are addresses
            raise MemoryError(f"cannot allocate {new} of shape {shape}") from None
    return output(out, shape)


def output(out: Output, shape: tuple[int, ...], name: str = "out") -> NDArray[Any]:
    """Return the array of `out` if a floating result of `shape` can be written to it."""
    array = as_output(out, name)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if not is_supported_float(array.dtype):
        raise TypeError(f"{name} has dtype {array.dtype}, expected {FLOATS}")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only")
    no_overlap(array, name)
    count_change(out)
    return array


def no_overlap(array: NDArray[Any], name: str) -> None:
    """Check that no two elements of a floating array share memory."""
    _native._refuse_overlap(array.view(f"u{array.itemsize}"), name)


def is_class(given: NDArray[np.integer[Any]], classes: int) -> NDArray[np.bool_]:
    """Tell which labels are classes."""
    return np.asarray((given >= 0) & (given < classes))


def _is_invalid(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which numbers are not finite or are negative."""
    return ~np.asarray(np.isfinite(values) & (values >= 0.0))


def _invalid(values: NDArray[Any], place: tuple[int, ...], name: str, called: str) -> ValueError:
    return ValueError(
        f"{name}{place_shown(*place)} is {float(values[place])}, but {called} must be finite and "
        "non-negative"
    )
