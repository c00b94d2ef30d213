"""Classes of other libraries, which are looked up in `sys.modules` and never imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any


def classes(module: str, *names: str) -> Callable[[], Any]:
    """Return a function that returns the classes of a module with these names, as `isinstance` takes them.

    There are none, since there can be no objects of them, if the module has not been imported, or if another
    thread is importing it and has not come to one of them.
    """
    of = attrgetter(*names)

    def found() -> Any:
        imported = sys.modules.get(module)
        if imported is None:
            return ()
        try:
            return of(imported)
        except AttributeError:
            return ()

    return found


MASKED_ARRAY = classes("numpy.ma", "MaskedArray")
TENSOR = classes("torch", "Tensor")
PANDAS = classes("pandas", "DataFrame", "Series", "Index", "api.extensions.ExtensionArray")
DATA_FRAME = classes("pandas", "DataFrame")
SPARSE = classes("pandas", "SparseDtype")
ARROW = classes("pyarrow", "Table", "RecordBatch", "Array", "ChunkedArray")
ARROW_COLUMN = classes("pyarrow", "Array", "ChunkedArray")
