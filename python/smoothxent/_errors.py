"""The exceptions that are the package's own; everything else is a plain TypeError or ValueError."""

from __future__ import annotations


class LabelError(ValueError, IndexError):
    """An integer label is neither a class nor ``ignore_index``, or an index is no class.

    It is a ValueError, as in scikit-learn, and an IndexError, as in PyTorch, so code written for
    either catches it. The message gives the place and value of the first such one.

    Attributes
    ----------
    index : tuple of int
        The place: ``targets[error.index]`` is the label. Of a single label it is ``()``.
    value : int or None
        The label, or the index that is no class; None if it is no whole number.

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
    """The native code failed in a way that is a bug of this package, never of the caller.

    The process and the package remain usable. Please report it with the output of `show_config`.
    """

    __module__ = "smoothxent"
