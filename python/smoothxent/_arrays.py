"""Conversion of arguments to arrays: the slow path, for what the native code cannot read directly.

The native code itself reads ndarrays (not subclasses) of four floating types in native byte order,
with any strides: float16, bfloat16 (of ml_dtypes, which is optional), float32 and float64. For
anything else it calls one of these functions, once per argument:

    as_logits    -> a floating type                  (logits)
    as_real      -> a floating type                  (priors, weights)
    as_targets   -> any integer or a floating type   (labels or probabilities)
    as_indices   -> any integer type                 (the requested classes)
    as_mask      -> bool                             (the classes that take part)

Functions in Python use these too, and `as_labels` where only labels are accepted. Each returns a
base-class ndarray in native byte order, without a copy where the dtype permits it, or raises a
TypeError that names the argument and the remedy. Nothing that would lose information is accepted: no
masks, no missing values, no gradients, no other devices, no narrower types.

Other libraries are looked up and never imported: if a module is absent, there can be no objects of
it. The exception is ml_dtypes, whose type the arrays of torch's bfloat16 tensors have.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from smoothxent._columns import (
    array_of_lists,
    decide,
    fixed_size_lists,
    numbers_of_frame,
    pandas_dtypes,
    pyarrow_columns,
    refuse_missing,
)
from smoothxent._errors import LabelError, place_shown, refuse_gradient
from smoothxent._imported import MASKED_ARRAY, SPARSE
from smoothxent._pieces import SEQUENCES, Index, cast, first, of_sequence
from smoothxent._types import NDArray

# DLPack device types whose memory the processor can read: kDLCPU and the page-locked or managed
# memory of CUDA and ROCm.
_READABLE_DEVICES = frozenset({1, 3, 11, 13})
FLOATS = "float16, bfloat16, float32 or float64"
_DEVICE_NAMES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI"}


def as_logits(obj: object, name: str) -> NDArray[Any]:
    """Return `obj` as a floating type; integers, bools and numbers in lists become float64."""
    return _as_floating(as_ndarray(obj, name, fill="-numpy.inf"), obj, name)


def as_real(obj: object, name: str) -> NDArray[Any]:
    """Return `obj`, a prior or weights, as a floating type, by the rules of `as_logits`."""
    return _as_floating(as_ndarray(obj, name, fill="0.0"), obj, name)


def as_targets(obj: object, name: str, fill: str | None = "ignore_index") -> NDArray[Any]:
    """Return `obj` as labels of an integer dtype or probabilities in a floating type.

    The dtype is kept, because it distinguishes labels from probabilities. Booleans are neither.
    `fill` is the value that an error suggests for missing labels, None if there is no such value.
    """
    array = as_ndarray(obj, name, fill)
    labels = _labels(array, obj)
    if labels is not None:
        return labels
    _refuse_large_integer(array, obj, name)
    if is_supported_float(array.dtype):
        return _native_endian(array)
    expected = f"integer labels, or probabilities in {FLOATS}"
    raise _no_labels(array, obj, name, expected, _remedy(array, obj, name))


def as_labels(
    obj: object, name: str, fill: str | None = "ignore_index", expected: str = "integer labels"
) -> NDArray[Any]:
    """Return `obj` as labels, by the rules of `as_targets`; an error says what was expected."""
    array = as_ndarray(obj, name, fill)
    labels = _labels(array, obj)
    if labels is None:
        _refuse_large_integer(array, obj, name)
        raise _no_labels(array, obj, name, expected, _remedy_of_columns(array, obj, name))
    return labels


def as_indices(obj: object, name: str) -> NDArray[Any]:
    """Return `obj` as an integer dtype, by the rules of `as_targets`; nothing may be missing."""
    return as_labels(obj, name, fill=None, expected="integers")


def as_numpy_targets(obj: object, name: str) -> NDArray[Any]:
    """Return `obj` by the rules of `as_targets`, for functions in plain NumPy; nothing may be missing."""
    return _widened(as_targets(obj, name, fill=None))


def as_numpy_real(obj: object, name: str) -> NDArray[Any]:
    """Return `obj` by the rules of `as_real`, for functions in plain NumPy."""
    return _widened(as_real(obj, name))


def as_mask(obj: object, name: str) -> NDArray[np.bool_]:
    """Return `obj` as booleans; other dtypes are refused."""
    array = as_ndarray(obj, name, fill="False")
    if array.dtype.kind != "b":
        raise TypeError(f"{name} has dtype {_described(array.dtype, obj)}, expected bool")
    return array


def is_supported_float(dtype: np.dtype[Any]) -> bool:
    """Tell whether the losses have kernels for a dtype, in either byte order."""
    return (dtype.kind == "f" and dtype.itemsize in (2, 4, 8)) or _is_bfloat16(dtype)


def _as_floating(array: NDArray[Any], obj: object, name: str) -> NDArray[Any]:
    dtype = array.dtype
    if is_supported_float(dtype):
        return _native_endian(array)
    if dtype.kind in "biu":
        return cast(array, np.float64)
    if name == "class_weight" and isinstance(obj, str):
        raise TypeError(
            f"class_weight must be an array of weights, got {obj!r} (what scikit-learn calls "
            "'balanced' is 1 / (K * class_prior(labels, K)))"
        )
    remedy = _remedy(array, obj, name)
    raise TypeError(
        f"{name} has dtype {_described(dtype, obj)}, expected {FLOATS} "
        f"({remedy or 'integers and bools are converted to float64'})"
    )


def _labels(array: NDArray[Any], obj: object) -> NDArray[Any] | None:
    """Return `array`, converted from `obj`, as labels; None if these are no labels."""
    if array.size == 0 and isinstance(obj, SEQUENCES):
        # NumPy reads [] as float64, but these are labels: each row of probabilities would have classes.
        return array.astype(np.int64)
    return _native_endian(array) if array.dtype.kind in "iu" else None


def _refuse_large_integer(array: NDArray[Any], obj: Any, name: str) -> None:
    """Refuse a list with an integer of more than 64 bits, of which NumPy makes objects, or floats."""
    if not isinstance(obj, (*SEQUENCES, int)) or array.dtype not in (np.float64, np.object_):
        return
    of_object = np.frompyfunc(lambda item: isinstance(item, int) and abs(item) >= 2**63, 1, 1)

    def is_large(at: Index) -> NDArray[np.bool_]:
        are = of_object(array[at]) if array.dtype == object else np.abs(array[at]) >= 2.0**63
        return np.asarray(are, np.bool_)

    place = first(array.shape, is_large)
    item: Any = obj
    for index in place or ():
        item = item[index]
    if place is not None and isinstance(item, int):
        raise LabelError(
            f"{name}{place_shown(*place)} is {item}, expected integers of 64 bits "
            "(signed if any is negative)",
            place,
            item,
        )


def _no_labels(
    array: NDArray[Any], obj: object, name: str, expected: str, remedy: str
) -> TypeError:
    text = f"{name} has dtype {_described(array.dtype, obj)}, expected {expected}"
    if array.dtype.kind == "b":
        remedy = f"pass numpy.asarray({name}, dtype=int) for the classes 0 and 1"
        if ", or" in expected:  # probabilities
            remedy += f", numpy.asarray({name}, dtype=float) for one-hot labels"
    return TypeError(f"{text} ({remedy})" if remedy else text)


def _remedy(array: NDArray[Any], obj: object, name: str) -> str:
    """Return how to convert an array to floats; "" if nothing is known about its dtype."""
    if str(array.dtype) == "|V2":
        return f"numpy.load reads bfloat16 as |V2: pass {name}.view(ml_dtypes.bfloat16)"
    return _remedy_of_columns(array, obj, name)


def _remedy_of_columns(array: NDArray[Any], obj: object, name: str) -> str:
    """Return how to convert an array of lists or arrays to one array; "" for other arrays."""
    if array.dtype != object or not array.size:
        return ""
    first = array[(0,) * array.ndim]
    if not isinstance(first, (*SEQUENCES, np.ndarray)):
        return ""
    if array.ndim > 1:
        return "pass the column of lists alone"
    if hasattr(getattr(obj, "type", None), "shape"):  # tensors of pyarrow
        in_one = "combine_chunks()." if hasattr(obj, "chunks") else ""
        return f"pass {name}.{in_one}to_numpy_ndarray()"
    if pyarrow_columns(obj):
        lists = f"pyarrow.list_({name}.type.value_type, {len(first)})"
        return f"of lists of equal lengths pass {name}.cast({lists})"
    return f"of lists of equal lengths pass numpy.stack({name})"


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Recognize bfloat16 by its name, without importing ml_dtypes."""
    return dtype.name == "bfloat16"


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    return cast(array, np.float32) if _is_bfloat16(array.dtype) else array


def _native_endian(array: NDArray[Any]) -> NDArray[Any]:
    return cast(array, array.dtype.newbyteorder("="))


def _described(dtype: np.dtype[Any], obj: object) -> str:
    source = "" if hasattr(obj, "dtype") else f" (converted from {type(obj).__name__})"
    return f"{dtype}{source}"


def as_ndarray(obj: object, name: str, fill: str | None) -> NDArray[Any]:
    """Return `obj` as a base-class ndarray of any dtype, sharing memory where it can."""
    _refuse_masked(obj, name, fill)
    if isinstance(obj, (list, tuple)):
        _refuse_items(obj, name, fill, {np.ndarray}, name)
    if isinstance(obj, np.ndarray):
        return np.ndarray.view(obj, np.ndarray)  # not the method of a subclass
    _refuse_dask(obj, name)
    _refuse_sparse(obj, name)
    lists = fixed_size_lists(obj)
    if lists is not None:
        return array_of_lists(lists, name)
    refuse_missing(obj, name, fill)
    obj = numbers_of_frame(obj)
    refuse_gradient(obj, name, ".detach().cpu()")
    _refuse_other_device(obj, name)
    of_tensor = _bfloat16_of_tensor(obj, name)
    try:
        if of_tensor is not None:
            # torch does not share bfloat16 with NumPy, but it shares the same bits as int16.
            bits: Any = obj
            return np.asarray(bits.view(sys.modules["torch"].int16)).view(of_tensor)
        # NumPy itself tries the buffer protocol and __array__, both without a copy. It does not try
        # DLPack, and would read an object that has only DLPack element by element.
        if hasattr(obj, "__dlpack__") and not hasattr(obj, "__array__") and not _is_buffer(obj):
            return np.from_dlpack(obj)
        array = of_sequence(obj) if isinstance(obj, SEQUENCES) else np.asanyarray(obj)
    except RecursionError:
        raise
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise TypeError(f"{name} cannot be read as an array: {error}") from error
    _refuse_masked(array, name, fill)  # what __array__ returned
    return np.ndarray.view(array, np.ndarray)


def _is_buffer(obj: Any) -> bool:
    try:
        memoryview(obj).release()
    except (TypeError, BufferError):
        return False
    return True


def _bfloat16_of_tensor(obj: object, name: str) -> np.dtype[Any] | None:
    """Return the dtype for a bfloat16 tensor of torch, None for all other objects."""
    if str(getattr(obj, "dtype", None)) != "torch.bfloat16":
        return None
    try:
        return bfloat16()
    except ImportError:
        raise TypeError(
            f"{name} is a tensor of dtype bfloat16, which NumPy does not have; install ml_dtypes, "
            f"or pass {name}.float()"
        ) from None


def bfloat16() -> np.dtype[Any]:
    """Return the dtype of ml_dtypes, imported now."""
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _refuse_sparse(obj: object, name: str) -> None:
    # SciPy and sparse have nnz, JAX has nse, torch has a layout.
    is_sparse = hasattr(obj, "nnz") or hasattr(obj, "nse")
    if is_sparse or str(getattr(obj, "layout", "")).startswith("torch.sparse"):
        for dense in ("toarray", "to_dense", "todense"):
            if callable(getattr(obj, dense, None)):
                raise TypeError(f"{name} is a sparse array; pass {name}.{dense}()")
    if any(isinstance(dtype, SPARSE()) for dtype in pandas_dtypes(obj)):
        dense = "sparse.to_dense" if hasattr(obj, "sparse") else "to_dense"
        raise TypeError(f"{name} is a sparse array; pass {name}.{dense}()")


def _refuse_dask(obj: object, name: str) -> None:
    # NumPy would compute all chunks. Arrays of xarray have a graph if they hold some; dask_expr: data frames until 2024.
    if "dask" not in sys.modules:
        return
    modules = (cls.__module__.partition(".")[0] for cls in type(obj).__mro__)
    is_of_dask = any(module in ("dask", "dask_expr") for module in modules)
    if is_of_dask or getattr(type(obj), "__dask_graph__", lambda _: None)(obj) is not None:
        raise TypeError(
            f"{name} is a collection of dask, which is not computed here; pass {name}.compute(), "
            "or call the function of smoothxent.dask, which computes nothing until it is asked"
        )


def _refuse_masked(obj: object, name: str, fill: str | None) -> None:
    if isinstance(obj, MASKED_ARRAY()) and np.ma.is_masked(obj):
        raise TypeError(f"{name} is a masked array with masked values; {decide('filled', fill)}")


def _refuse_items(
    items: Sequence[Any], name: str, fill: str | None, others: set[type], place: str
) -> None:
    """Refuse dask, masked and missing values in a sequence at `place`; `others` collects the types that are no arrays."""
    for index, item in enumerate(items):
        if type(item) in others:  # most items are of one type
            continue
        if isinstance(item, (list, tuple)):
            _refuse_items(item, name, fill, others, f"{place}[{index}]")
            continue
        _refuse_dask(item, f"{place}[{index}]")
        if isinstance(item, np.ndarray) or pandas_dtypes(item) or pyarrow_columns(item):
            _refuse_masked(item, name, fill)
            refuse_missing(item, name, fill)
        elif hasattr(item, "__array__") and not isinstance(item, np.generic):
            _refuse_masked(_as_it_says(item), name, fill)
            refuse_missing(item, name, fill)
        else:
            others.add(type(item))


def _as_it_says(obj: Any) -> object:
    """Return the array to which an object converts itself, if masked arrays can exist; None if it cannot."""
    try:
        return np.asanyarray(obj) if "numpy.ma" in sys.modules else None
    except (TypeError, ValueError, RuntimeError, BufferError):
        return None  # the error is raised when all items are read


def _refuse_other_device(obj: object, name: str) -> None:
    device_of = getattr(obj, "__dlpack_device__", None)
    if device_of is None:
        return
    try:
        device, number = map(int, device_of())
    except (BufferError, RuntimeError, TypeError, ValueError):
        return  # for example a sharded array, which can still offer __array__
    if device not in _READABLE_DEVICES:
        kind = _DEVICE_NAMES.get(device, f"DLPack type {device}")
        raise TypeError(
            f"{name} is on device {number} ({kind}); copy it to the CPU first, for example with "
            f"{name}.cpu()"
        )
