"""The exceptions that are the package's own; everything else is a plain TypeError or ValueError."""


class LabelError(ValueError, IndexError):
    """An integer label is neither a class nor ``ignore_index``, or an index is no class.

    It is a ValueError, as in scikit-learn, and an IndexError, as in PyTorch, so code written for
    either catches it. The message gives the place and value of the first such one.
    """

    __module__ = "smoothxent"


class InternalError(RuntimeError):
    """The native code failed in a way that is a bug of this package, never of the caller.

    The process and the package remain usable. Please report it with the output of `show_config`.
    """

    __module__ = "smoothxent"
