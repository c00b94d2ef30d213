"""Conversion of outputs to arrays: an output is an array or a tensor of torch, nothing else.

The native code itself writes to ndarrays (not subclasses) of its four floating types in native byte order,
with any strides. For anything else it calls `as_native_output`, once per output.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from smoothxent._arrays import FLOATS, as_ndarray, is_supported_float
from smoothxent._imported import TENSOR
from smoothxent._types import NDArray

# The limit of NumPy's search for an element that two arrays share. Any, since the stubs before NumPy 2.5 refuse it.
_MOST_WORK: Any = 10_000


def as_native_output(obj: object, name: str) -> NDArray[Any]:
    """Return the memory of an output as a base-class ndarray of a type that the native code writes."""
    array = as_output(obj, name)
    if not (is_supported_float(array.dtype) and array.dtype.isnative):
        raise TypeError(f"{name} has dtype {array.dtype}, expected {FLOATS} in native byte order")
    count_change(obj)
    return array


def as_output(obj: object, name: str) -> NDArray[Any]:
    """Return the array `obj`, or the memory of a subclass or tensor, to be written after `count_change`."""
    if isinstance(obj, np.ndarray):
        if hasattr(obj, "mask"):
            raise TypeError(f"{name} is a masked array; pass an ordinary one, or its .data")
        # A subclass may have methods of its own.
        return obj if type(obj) is np.ndarray else np.ndarray.view(obj, np.ndarray)
    if not isinstance(obj, TENSOR()):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(obj).__name__}")
    tensor: Any = obj
    if str(tensor.device) != "cpu":
        raise TypeError(f"{name} is a tensor on device {tensor.device}, expected the CPU")
    if str(tensor.layout) != "torch.strided":
        raise TypeError(f"{name} is a tensor of layout {tensor.layout}, expected torch.strided")
    if tensor.requires_grad:
        raise TypeError(
            f"{name} is a tensor that requires a gradient, which would not know what is written; "
            f"pass {name}.detach()"
        )
    return as_ndarray(tensor, name, fill=None)


def count_change(output: Any) -> None:
    """Increment the version of a tensor that is accepted, as each of torch's own changes in place does."""
    is_tensor = isinstance(output, TENSOR())
    if is_tensor and not output.is_inference():  # inference tensors have no version
        sys.modules["torch"].autograd.graph.increment_version(output)


def share_memory(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Tell whether two arrays share elements, or may share some: the search has a limit."""
    try:
        return np.shares_memory(a, b, max_work=_MOST_WORK)
    except np.exceptions.TooHardError:
        return True


def refuse_overlap(array: NDArray[Any], name: str) -> None:
    """Refuse an array two of whose elements share memory, or for which the search takes too long."""
    try:
        overlaps = _overlaps_itself(array)
    except np.exceptions.TooHardError:
        raise ValueError(
            f"{name} has strides of which it takes too long to tell whether it overlaps itself"
        ) from None
    if overlaps:
        raise ValueError(f"{name} overlaps itself (two of its elements share memory)")


def _overlaps_itself(array: NDArray[Any]) -> bool:
    for axis in range(array.ndim):
        while array.shape[axis] > 1:
            middle = (array.shape[axis] + 1) // 2
            first, second = np.split(array, [middle], axis)
            if np.shares_memory(first, second, max_work=_MOST_WORK):
                return True
            array = first  # the second half has the same strides and is no longer
    return False


def refuse_shared_memory(out: NDArray[Any], name: str, others: Mapping[str, object]) -> None:
    """Refuse an output that shares elements with another array, or may share some."""
    for other, array in others.items():
        if isinstance(array, np.ndarray) and share_memory(out, array):
            raise ValueError(f"{name} must not share memory with {other}")


def is_same_memory(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Tell whether two arrays have the same elements of memory in the same places."""
    is_same_place = a.ctypes.data == b.ctypes.data and a.itemsize == b.itemsize
    return is_same_place and (a.shape, a.strides) == (b.shape, b.strides)
