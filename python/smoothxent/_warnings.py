"""Warnings of the native code, at the line that calls the package."""

import sys
import warnings


def warn(message: str) -> None:
    """Warn at the innermost frame that belongs neither to this package nor to an import of it."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] == "smoothxent":
            level += 1
        elif "importlib._bootstrap" not in frame.f_code.co_filename:  # not counted by `warnings`
            break
        frame = frame.f_back
    warnings.warn(message, RuntimeWarning, stacklevel=level)
