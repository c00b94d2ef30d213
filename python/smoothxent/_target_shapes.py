"""Errors for targets whose shape does not fit the logits: the expected shape, and what was probably meant."""

from __future__ import annotations

Shape = tuple[int, ...]


def shape_error(
    given: Shape, dtype: str, shape: Shape, axis: int, *, has_axis: bool = True
) -> TypeError | ValueError:
    """Return the error for targets of shape `given`, with logits of `shape` and classes along `axis`.

    `has_axis` tells whether the function that the user called has an argument `axis`.
    """
    rows = _without(shape, axis)
    if "int" in dtype:
        expected, remedy = rows, _of_labels(given, shape, axis, has_axis)
    else:
        expected, remedy = shape, _of_floats(given, shape, axis)
    if len(given) != len(expected):
        return TypeError(
            f"targets must be integer labels of shape {rows} or floating probabilities of shape "
            f"{shape}, got {dtype} of shape {given}{remedy}"
        )
    return ValueError(
        f"targets must have shape {expected} for logits of shape {shape} and axis {axis}, got "
        f"{given}{remedy}"
    )


def _of_labels(given: Shape, shape: Shape, axis: int, has_axis: bool) -> str:
    if given == shape:
        return (
            f" (of one-hot labels pass numpy.argmax(targets, axis={axis}), or as probabilities "
            "numpy.asarray(targets, dtype=float))"
        )
    if given == (*shape[:axis], 1, *shape[axis + 1 :]):
        return f" (pass numpy.squeeze(targets, axis={axis}))"
    # First axis 1, as in PyTorch.
    for other in sorted(range(len(shape)), key=lambda other: other != 1):
        if other != axis and given == _without(shape, other):
            as_torch = ", as in PyTorch" if other == 1 else ""
            remedy = f"axis={other}" if has_axis else f"numpy.moveaxis(logits, {other}, -1)"
            return f" (with the classes along axis {other}{as_torch}, pass {remedy})"
    return ""


def _of_floats(given: Shape, shape: Shape, axis: int) -> str:
    if given == _without(shape, axis):
        return " (labels must be integers: pass numpy.asarray(targets, dtype=int))"
    if any(_without(given, other) == shape for other in range(len(given))):
        return " (the logits come first: are the two swapped?)"
    return ""


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])
