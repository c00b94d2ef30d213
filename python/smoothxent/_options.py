"""What counts as a number and as an integer: the slow path of every option that is not already one.

The native code reads by itself what Python converts; it calls these for everything else, once per option.
An option that there is not is Python's error, with what was meant.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import SupportsFloat, SupportsIndex


_NOT_REAL = (bool, np.bool_, str, bytes, np.complexfloating, np.ndarray)
# Of an integer that Python writes in digits, whatever sys.set_int_max_str_digits allows.
_MOST_BITS = 2048


def number(value: SupportsFloat, name: str) -> float:
    """Return a real number as a float; a bool, text or a complex number of NumPy is none."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    is_real = hasattr(value, "__float__") or hasattr(value, "__index__")
    if is_real and not isinstance(value, _NOT_REAL):
        try:
            return float(value)
        except TypeError:
            pass
        except OverflowError:
            raise ValueError(f"{name} is too large for a float64") from None
    raise TypeError(f"{name} must be a real number, got {type(value).__name__}")


def integer(value: SupportsIndex, name: str) -> int:
    """Return an integer; a bool is none, because ``ignore_index=False`` would mean class 0."""
    if not isinstance(value, bool):
        try:
            given = operator.index(value)
        except TypeError:
            pass
        else:
            if given.bit_length() > _MOST_BITS:
                raise ValueError(f"{name} must fit 64 bits")
            return given
    raise TypeError(f"{name} must be an integer, got {type(value).__name__}")


def between(value: SupportsIndex, name: str, least: int, most: int | None = None) -> int:
    """Return an integer that is at least and at most so much."""
    given = integer(value, name)
    if given < least or (most is not None and given > most):
        expected = f"at least {least}" if most is None else f"between {least} and {most}"
        raise ValueError(f"{name} must be {expected}, got {given}")
    return given


def unexpected_keyword(function: str, name: str) -> TypeError:
    """Return the error of Python for a keyword that a function with weights does not have.

    `weight` is PyTorch's name for weights of classes, and others' for weights of rows.
    """
    remedy = ": class_weight weighs classes, sample_weight rows" if name == "weight" else ""
    return TypeError(f"{function}() got an unexpected keyword argument '{name}'{remedy}")
