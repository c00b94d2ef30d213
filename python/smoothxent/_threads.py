"""How many threads the native code uses, and what it runs on."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from smoothxent import _smoothxent as _native

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of `num_threads` blocks. The native code asks it from the first of them on.
_IN_CONTEXT: ContextVar[int | None] = ContextVar("smoothxent.num_threads", default=None)

if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_native._after_fork_in_child)


def set_num_threads(n: int) -> None:
    """Set the largest number of threads that a call may use.

    The setting holds for the whole process, in all of its threads, except inside `num_threads`
    blocks, which have their own. It decides speed only: results are the same bits for every number
    of threads.

    Parameters
    ----------
    n : int
        At least 1; 1 means that every call runs in the thread that makes it.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is smaller than 1.

    See Also
    --------
    num_threads : The same for a block of code.
    get_num_threads : The number now.

    Examples
    --------
    >>> import smoothxent as sx
    >>> before = sx.get_num_threads()
    >>> sx.set_num_threads(2)
    >>> sx.get_num_threads()
    2
    >>> sx.set_num_threads(before)
    """
    _native.set_num_threads(n)


def get_num_threads() -> int:
    """Return the largest number of threads that a call from here may use.

    Inside a `num_threads` block it is that of the block, elsewhere that of `set_num_threads`. Until
    that is called it is the first of the environment variables ``SMOOTHXENT_NUM_THREADS``,
    ``RAYON_NUM_THREADS`` and ``OMP_NUM_THREADS`` that is set, otherwise the number of processors
    that the process may use.

    Returns
    -------
    int
        At least 1. Small calls use fewer threads than this.

    See Also
    --------
    set_num_threads : Set the number for the process.
    num_threads : Set it for a block of code.
    show_config : The number, and what set it.

    Examples
    --------
    >>> import smoothxent as sx
    >>> sx.get_num_threads() >= 1
    True
    """
    return _native.get_num_threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Use at most `n` threads inside a ``with`` block or a decorated function.

    The setting holds in the block's own context (see `contextvars`): for calls from this thread, or
    from this asyncio task and the tasks that it makes. Inside the block it comes before that of
    `set_num_threads`, which holds everywhere else, and blocks in several threads or tasks at once do
    not see each other's. A thread started inside the block does not have its setting, unless Python
    gives it a copy of the context. The bodies of coroutine and generator functions run after the call that
    is decorated: write a ``with`` block in them.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is smaller than 1, or at the end of a block that did not begin in this context.

    See Also
    --------
    set_num_threads : The same for the whole process.
    get_num_threads : The number now.

    Examples
    --------
    >>> import smoothxent as sx
    >>> with sx.num_threads(1):
    ...     sx.get_num_threads()
    1
    """
    token = _native._enter_num_threads(_IN_CONTEXT, n)
    try:
        yield
    finally:
        token.var.reset(token)


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print or return the version, what it runs on, the instruction set in use and the threads.

    Put its output into a bug report.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        Print the configuration, or return it.

    Returns
    -------
    dict or None
        None, or the configuration if `mode` is ``"dicts"``: ``version``, ``build`` (of the extension:
        its profile, system and processor, and the ABI), ``python``, ``numpy``, ``system``, ``cpu``,
        all text; ``simd`` with the ``level`` in use and those ``available``; ``threads`` with their
        ``count``, its ``source``, and how many have been ``started``. ``ignored`` and ``degraded``
        say in either of these what could not be done.

    Raises
    ------
    ValueError
        If `mode` is neither of the two.

    See Also
    --------
    get_num_threads : The number of threads alone.

    Examples
    --------
    >>> import smoothxent as sx
    >>> sx.show_config(mode="dicts")["version"] == sx.__version__
    True
    """
    if mode not in ("stdout", "dicts"):
        got = f'"{mode}"' if isinstance(mode, str) else repr(mode)
        raise ValueError(f'mode must be "stdout" or "dicts", got {got}')
    (build, level, available, unknown, count, source, started, degraded, ignored) = (
        _native.show_config()
    )
    # The extension of every Python from 3.11 on is called .abi3.so, but for Windows.
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
    if unknown is not None:
        config["simd"]["ignored"] = unknown
    if degraded is not None:
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
