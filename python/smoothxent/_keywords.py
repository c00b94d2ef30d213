"""Keywords that a function does not have: Python's error, and what was meant.

`weight` is PyTorch's name for weights of classes, and others' for weights of rows. `cross_entropy` and
`cross_entropy_value_and_grad` have a parameter of that name, only to say what theirs are called: it costs a call
some 20 ns, where a function around them would cost 350. It is not in what shows signatures, nor in the overloads,
which are what type checkers see.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_GIVEN: Any = object()

_Function = TypeVar("_Function", bound="Callable[..., object]")


def unexpected_keyword(function: str, name: str) -> TypeError:
    """Return the error of Python for a keyword that a function with weights does not have."""
    remedy = ": class_weight weighs classes, sample_weight rows" if name == "weight" else ""
    return TypeError(f"{function}() got an unexpected keyword argument '{name}'{remedy}")


def weight_not_shown(function: _Function) -> _Function:
    """Leave the parameter `weight` out of what `inspect.signature` and `help` show of a function."""
    signature = inspect.signature(function)
    shown = [p for name, p in signature.parameters.items() if name != "weight"]
    cast("Any", function).__signature__ = signature.replace(parameters=shown)
    return function
