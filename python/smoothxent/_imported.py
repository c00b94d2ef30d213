"""Classes of other libraries, which are looked up in `sys.modules` and never imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def classes(module: str, *names: str) -> Callable[[], Any]:
    """Return a function that returns the classes of a module with these names, as `isinstance` takes them.

    There are none, since there can be no objects of them, if the module has not been imported, or if another
    thread is importing it and has not come to one of them.
    """
    paths = [name.split(".") for name in names]

    def found() -> Any:
        imported = sys.modules.get(module)
        if imported is None:
            return ()
        classes = []
        for path in paths:
            # Not by attributes: an AttributeError may also be that of a signal handler.
            one: Any = imported
            for name in path:
                one = getattr(one, "__dict__", {}).get(name)
            if one is None:
                return ()
            classes.append(one)
        return tuple(classes)

    return found


MASKED_ARRAY = classes("numpy.ma", "MaskedArray")
TENSOR = classes("torch", "Tensor")
PANDAS = classes("pandas", "DataFrame", "Series", "Index", "api.extensions.ExtensionArray")
DATA_FRAME = classes("pandas", "DataFrame")
SPARSE = classes("pandas", "SparseDtype")
ARROW = classes("pyarrow", "Table", "RecordBatch", "Array", "ChunkedArray")
ARROW_COLUMN = classes("pyarrow", "Array", "ChunkedArray")
