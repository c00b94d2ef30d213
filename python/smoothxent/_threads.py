"""How many threads the native code uses, and what it runs on."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

import numpy as np

from smoothxent import _smoothxent as _native
from smoothxent._options import between, not_one_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import _GeneratorContextManager
else:  # its public name
    _GeneratorContextManager = AbstractContextManager

# The number of `num_threads` blocks. The native code reads it from the first block on.
_IN_CONTEXT: ContextVar[int | None] = ContextVar("smoothxent.num_threads", default=None)

_MOST_THREADS = 2 * sys.maxsize + 1  # that the native code can count

if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_native._after_fork_in_child)


def set_num_threads(n: SupportsIndex) -> None:
    """Set the largest number of threads that a call may use.

    The setting applies to the whole process, in all of its Python threads, except inside
    `num_threads` blocks, which have their own number. It affects the speed only: results are the
    same bits for every number of threads.

    Parameters
    ----------
    n : int
        At least 1. With 1, every call runs in the thread that makes it.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is smaller than 1.

    See Also
    --------
    num_threads : The same for a block of code.
    get_num_threads : The current number.

    Examples
    --------
    >>> import smoothxent as sx
    >>> before = sx.get_num_threads()
    >>> sx.set_num_threads(2)
    >>> sx.get_num_threads()
    2
    >>> sx.set_num_threads(before)
    """
    _native.set_num_threads(_count(n))


def get_num_threads() -> int:
    """Return the largest number of threads that a call may use at this point of the program.

    Inside a `num_threads` block this is the number of the block, and elsewhere the number passed to
    `set_num_threads`. If that has not been called, it is the first number of at least 1 among the
    environment variables ``SMOOTHXENT_NUM_THREADS``, ``RAYON_NUM_THREADS`` and ``OMP_NUM_THREADS``,
    or else the number of processors that the process may use.

    Returns
    -------
    int
        At least 1. Calls with small inputs use fewer threads than this.

    See Also
    --------
    set_num_threads : Set the number for the process.
    num_threads : Set it for a block of code.
    show_config : The number, and the setting it comes from.

    Examples
    --------
    >>> import smoothxent as sx
    >>> sx.get_num_threads() >= 1
    True
    """
    return _native.get_num_threads()


def num_threads(n: SupportsIndex) -> _GeneratorContextManager[None]:
    """Use at most `n` threads inside a ``with`` block or a decorated function.

    The setting applies to the current context (see `contextvars`): to calls from the current
    thread, or from the current asyncio task and the tasks that it creates. Inside the block it
    overrides `set_num_threads`. Blocks in different threads or tasks do not affect each other. A
    thread that is started inside the block does not inherit the setting, unless Python gives it a
    copy of the context, as free-threaded Python 3.14 does (`sys.flags.thread_inherit_context`); it
    then keeps the setting after the block. Each block needs a call of its own. Do not decorate
    coroutine or generator functions: their bodies run after the decorated call has returned. Use a
    ``with`` block inside them instead.

    Parameters
    ----------
    n : int
        At least 1.

    Returns
    -------
    context manager
        It can also be used as a decorator.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is smaller than 1, or if the block ends in another context than that in which it
        began.

    See Also
    --------
    set_num_threads : The same for the whole process.
    get_num_threads : The current number.

    Examples
    --------
    >>> import smoothxent as sx
    >>> with sx.num_threads(1):
    ...     sx.get_num_threads()
    1
    """
    return _block(_count(n))


def _count(n: SupportsIndex) -> int:
    return min(between(n, "n", 1), _MOST_THREADS)


@contextmanager
def _block(n: int) -> Iterator[None]:
    variable = _native._variable_of_blocks(_IN_CONTEXT)
    token = variable.set(n)
    try:
        yield
    finally:
        variable.reset(token)


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print or return the version, the platform, the instruction set in use and the threads.

    Include the output in a bug report.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        Whether to print the configuration or to return it.

    Returns
    -------
    dict or None
        None if the configuration is printed. If `mode` is ``"dicts"``, a dict with the strings
        ``version``, ``build`` (profile, system, processor and ABI of the extension), ``python``,
        ``numpy``, ``system`` and ``cpu``, and two dicts. ``simd`` has the instruction set in use as
        ``level`` and all usable ones as ``available``. ``threads`` has the number of threads as
        ``count``, the setting it comes from as ``source`` ("available_parallelism" is the number of
        processors), and the number of threads that have been ``started``. If an environment
        variable was ignored, its dict has an entry ``ignored``; if threads could not be started,
        ``threads`` has an entry ``degraded``.

    Raises
    ------
    ValueError
        If `mode` is another value.

    See Also
    --------
    get_num_threads : Only the number of threads.

    Examples
    --------
    >>> import smoothxent as sx
    >>> sx.show_config(mode="dicts")["version"] == sx.__version__
    True
    """
    if mode not in (modes := ("stdout", "dicts")):
        raise not_one_of(mode, "mode", modes)
    (build, level, available, unknown, count, source, started, degraded, ignored) = (
        _native.show_config()
    )
    # The extension for all Pythons from 3.11 on is called .abi3.so, except on Windows.
    abi = "abi3" if ".abi3." in (_native.__file__ or "") else sys.implementation.cache_tag
    config: dict[str, Any] = {
        "version": _native.__version__,
        "build": f"{build}, {abi}",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "numpy": np.__version__,
        "system": platform.platform(),
        "cpu": _cpu(),
        "simd": {"level": level, "available": list(available)},
        "threads": {"count": count, "source": source, "started": started},
    }
    if unknown:
        config["simd"]["ignored"] = unknown
    if degraded:
        config["threads"]["degraded"] = degraded
    if ignored:
        config["threads"]["ignored"] = list(ignored)
    if mode == "dicts":
        return config
    _print_nested(config, indent="")
    return None


def _cpu() -> str:
    """Return the name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _print_nested(config: dict[str, Any], indent: str) -> None:
    for key, value in config.items():
        if isinstance(value, dict):
            print(f"{indent}{key}:")
            _print_nested(value, indent + "  ")
        else:
            print(f"{indent}{key}: {value}")
