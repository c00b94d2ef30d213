"""Keywords that a function does not have: Python's error, and what was meant.

`weight` is PyTorch's name for weights of classes, and others' for weights of rows.
"""


def unexpected_keyword(function: str, name: str) -> TypeError:
    """Return the error of Python for a keyword that a function with weights does not have."""
    remedy = ": class_weight weighs classes, sample_weight rows" if name == "weight" else ""
    return TypeError(f"{function}() got an unexpected keyword argument '{name}'{remedy}")
