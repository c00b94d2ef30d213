"""Conversion of options to numbers and integers: the slow path, for other types than Python's own.

The native code itself reads Python's own numbers; it calls these functions for everything else, once per option.
Unknown options raise Python's error, which also names the right option.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsFloat, SupportsIndex

import numpy as np

from smoothxent._errors import refuse_gradient

_NOT_REAL = (bool, str, bytes, np.void, np.ndarray)
# Python writes integers of up to this length in digits, whatever sys.set_int_max_str_digits allows.
_MOST_BITS = 2048
_MOST = 2**64


def number(value: SupportsFloat, name: str) -> float:
    """Return a real number as a float; bools, text, complex numbers and arrays with axes are refused."""
    # All that torch.compile can trace if the value is not a constant to it.
    if type(value) is float:
        return value
    if type(value) is int and -_MOST < value < _MOST:
        return float(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    refuse_gradient(value, name, ".item()")
    is_real = hasattr(value, "__float__") or hasattr(value, "__index__")
    if is_real and not isinstance(value, _NOT_REAL) and _may_be_real(value):
        try:
            return float(value)
        except TypeError:
            pass
        except OverflowError:
            raise ValueError(f"{name} is too large for a float64") from None
        except ValueError as error:  # of Decimal("sNaN"), for example
            raise ValueError(f"{name} is no float64: {error}") from error
    raise TypeError(f"{name} must be a real number, got {type(value).__name__}")


def integer(value: SupportsIndex, name: str) -> int:
    """Return an integer; bools are refused, because ``ignore_index=False`` would mean class 0."""
    if type(value) is int and -_MOST < value < _MOST:  # as in `number`
        return value
    if not isinstance(value, bool) and _may_be_real(value):
        try:
            given = operator.index(value)
        except TypeError:
            pass
        else:
            if given.bit_length() > _MOST_BITS:
                raise ValueError(f"{name} must fit 64 bits")
            return given
    raise TypeError(f"{name} must be an integer, got {type(value).__name__}")


def _may_be_real(value: object) -> bool:
    """Tell whether an object of any library declares no axes, and no bools, complex numbers or durations."""
    dtype = str(getattr(value, "dtype", ""))
    is_other = any(kind in dtype for kind in ("bool", "complex", "timedelta"))
    # Not by its truth: a TensorShape without axes is true.
    return getattr(value, "shape", ()) == () and not is_other


def between(value: SupportsIndex, name: str, least: int, most: int | None = None) -> int:
    """Return an integer in the range from `least` to `most`."""
    given = integer(value, name)
    if given < least or (most is not None and given > most):
        expected = f"at least {least}" if most is None else f"between {least} and {most}"
        raise ValueError(f"{name} must be {expected}, got {given}")
    return given


def unexpected_keyword(function: str, name: str) -> TypeError:
    """Return Python's error for an unknown keyword of a function with weights.

    `weight` is the name of class weights in PyTorch, and of row weights in other libraries.
    """
    remedy = ": class_weight weighs classes, sample_weight rows" if name == "weight" else ""
    return TypeError(f"{function}() got an unexpected keyword argument '{name}'{remedy}")


def not_one_of(value: object, name: str, names: Sequence[str]) -> ValueError:
    """Return the error of an argument that must be one of some strings."""
    *others, last = (f'"{one}"' for one in names)
    got = f'"{value}"' if isinstance(value, str) else repr(value)
    return ValueError(f"{name} must be {', '.join(others)} or {last}, got {got}")
