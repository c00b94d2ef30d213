"""The package's own exceptions; most other errors are a plain TypeError or ValueError."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class LabelError(ValueError, IndexError):
    """A label is neither a class nor ``ignore_index``, or an index is not a class.

    It is a ValueError, as in scikit-learn, and an IndexError, as in PyTorch, so code written for
    either library catches it. The message names the first wrong label and its index in the array.

    Attributes
    ----------
    index : tuple of int
        The index of the label in the array: ``targets[error.index]``. For a single label it is
        ``()``.
    value : int or None
        The wrong label or index; None if it is not a whole number.

    Examples
    --------
    >>> import smoothxent as sx
    >>> try:
    ...     sx.cross_entropy([[0.0, 1.0], [2.0, 3.0]], [1, 7])
    ... except sx.LabelError as error:
    ...     print(error.index, error.value)
    (1,) 7
    """

    __module__ = "smoothxent"

    def __init__(
        self, message: str = "", index: tuple[int, ...] = (), value: int | None = None
    ) -> None:
        super().__init__(message)
        self.index = index
        self.value = value


class InternalError(RuntimeError):
    """The native code failed because of a bug in this package, not because of a wrong argument.

    The process and the package remain usable. Please report the error with the output of
    `show_config`.
    """

    __module__ = "smoothxent"


def place_shown(*place: int | str) -> str:
    """Return the place of an item as messages show it; an empty string for a single number."""
    return f"[{', '.join(map(str, place))}]" if place else ""


def refuse_gradient(obj: object, name: str, remedy: str) -> None:
    """Refuse a tensor that requires a gradient; the result could not carry it."""
    if getattr(obj, "requires_grad", False) is True:
        raise TypeError(
            f"{name} is a tensor that requires a gradient, which a NumPy result cannot carry; pass "
            f"{name}{remedy}"
        )


@contextmanager
def reworded(reword: Callable[[str], str]) -> Iterator[None]:
    """Reword the messages of errors about arguments, for a caller whose own arguments are others."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (reword(error.args[0]), *error.args[1:])
        raise
