"""Builtins that replace the functions that are called most.

Editors, type checkers and readers see the `def`. Python takes 0.1 to 0.2 µs to fill in its defaults, a builtin of
the native module a few nanoseconds. The builtin calls the native function directly, and the `def` in the other
cases: if arguments are missing or unknown, so that errors are Python's own; if keywords are not interned (those in
source code are); and if the native function returns NotImplemented.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

from smoothxent import _smoothxent as _native
from smoothxent._options import unexpected_keyword

_Function = TypeVar("_Function", bound=Callable[..., object])

# The native module has one slot for each function, also if this package is imported again.
_BUILTINS = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_value_and_grad")


def as_builtin(function: _Function) -> _Function:
    """Replace a function by a builtin that calls the native function of this name with all arguments in order.

    The parameters without a default are those that can be passed by position.
    """
    parameters = inspect.signature(function).parameters.values()
    shown = [p.replace(annotation=p.empty) for p in parameters]
    signature = str(inspect.Signature(shown)).replace("(", "($module, ", 1)
    builtin = _native._builtin(
        _BUILTINS.index(function.__name__),
        _with_remedy(function) if any(p.name == "class_weight" for p in shown) else function,
        tuple(sys.intern(p.name) for p in shown),
        tuple(p.default for p in shown if p.default is not p.empty),
        f"{function.__name__}{signature}\n--\n\n{inspect.getdoc(function) or ''}",
    )
    return cast("_Function", builtin)


def _with_remedy(function: Callable[..., object]) -> Callable[..., object]:
    """Make the error for `weight` name the weights that a loss has."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> object:
        if "weight" in options:
            raise unexpected_keyword(function.__name__, "weight")
        return function(*arguments, **options)

    return call
