"""Importing this module lets threadpoolctl limit and list the threads of smoothxent.

If threadpoolctl has been imported before smoothxent, for example by scikit-learn, ``import
smoothxent`` imports this module. Otherwise import it yourself: ``import smoothxent`` alone never
imports threadpoolctl. Then::

    threadpool_limits(1)    set_num_threads(1), until its block ends
    threadpool_info()       has an entry with "user_api": "smoothxent"

The limit applies to the whole process, like that of `smoothxent.set_num_threads`. Inside a
`smoothxent.num_threads` block the number of the block counts.
"""

from __future__ import annotations

from abc import ABCMeta
from contextvars import Context

try:
    from threadpoolctl import LibController, register  # type: ignore[import-untyped]
except ImportError as _error:
    raise ImportError(
        "smoothxent.threadpoolctl needs threadpoolctl 3.2 or later: pip install 'threadpoolctl>=3.2'"
    ) from _error

from smoothxent import _smoothxent as _native
from smoothxent import _threads

__all__: list[str] = []


class _Controller(LibController, metaclass=ABCMeta):  # type: ignore[misc]  # it has no types
    """The interface that threadpoolctl expects; it finds the library by the file name of the extension."""

    user_api = "smoothxent"
    internal_api = "smoothxent"
    filename_prefixes = ("_smoothxent.",)
    check_symbols = ("PyInit__smoothxent",)

    def get_num_threads(self) -> int:
        """Return the number for the process: in an empty context there is no `num_threads` block."""
        return Context().run(_native.get_num_threads)

    def set_num_threads(self, num_threads: int) -> None:
        """Set the number for the process."""
        _threads.set_num_threads(num_threads)

    def get_version(self) -> str:
        """Return the version of the package."""
        return _native.__version__


register(_Controller)
