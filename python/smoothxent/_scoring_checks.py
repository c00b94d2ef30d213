"""Checks of the arguments of `score`, with the errors of the functions that it calls, for rows of the whole."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from smoothxent._arrays import as_ndarray, as_real, as_targets, is_supported_float
from smoothxent._checks import axis_of_prior, broadcast, no_overlap
from smoothxent._errors import LabelError, reworded
from smoothxent._loss_options import LossOptions, refuse_others
from smoothxent._outputs import refuse_shared_memory
from smoothxent._target_shapes import shape_error
from smoothxent._types import NDArray, Rows

# Arrays that may be as large as the logits, with the value that an error suggests for missing values.
_ARRAYS = {"prior": "0.0", "sample_weight": "0.0", "where": "False"}
# Options of `cross_entropy` that `score` does not have.
_REFUSED = {
    "axis": "the rows are along axis 0 and the classes along the last axis, as numpy.moveaxis can give them",
    "normalizer": "Score.loss * Score.divisor is the sum that it would divide",
    "out": "the outputs are log_probs_out and grad_out",
    "reduction": 'Score.loss is the loss of "mean", and Score.loss * Score.divisor that of "sum"',
}


def options(given: LossOptions, shape: tuple[int, ...]) -> tuple[dict[str, Any], set[str]]:
    """Return the options, with ndarrays for arrays, and the names of those that have the axis of rows."""
    refuse_others(given, "score", _REFUSED)
    checked: dict[str, Any] = dict(given)
    by_row = set()
    for name, value in given.items():
        if value is None:
            continue
        if name == "class_weight":
            checked[name] = as_real(value, name)
        elif name in _ARRAYS:
            array = checked[name] = as_ndarray(value, name, _ARRAYS[name])
            aligned, to = (
                (shape[:-1], "the rows,") if name == "sample_weight" else (shape, "logits")
            )
            if name == "prior":
                axis_of_prior(array, to, shape, len(shape) - 1)
            else:
                broadcast(name, array, to, aligned)
            if array.ndim == len(aligned) and array.shape[0] == shape[0] != 1:
                by_row.add(name)
    return checked, by_row


def targets(given: Rows, shape: tuple[int, ...]) -> None:
    """Check that targets have the shape that their dtype requires."""
    if given.dtype.kind in "iu":
        expected = shape[:-1]
    elif is_supported_float(given.dtype):
        expected = shape
    else:
        as_targets(given, "targets")  # an array, since files have numbers: raises the error
        return
    if given.shape != expected:
        raise shape_error(given.shape, given.dtype.name, shape, len(shape) - 1, has_axis=False)


def outputs(
    given: Mapping[str, NDArray[Any]], inputs: Mapping[str, object], shape: tuple[int, ...]
) -> None:
    """Check the shapes of outputs, and that none shares memory with an input, another output or within itself."""
    others = dict(inputs)
    for name, out in given.items():
        if out.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {out.shape}")
        # The functions that write see the rows of one chunk only. Other types are refused by them.
        if is_supported_float(out.dtype):
            no_overlap(out, name)
        refuse_shared_memory(out, name, others)
        others[name] = out


@contextlib.contextmanager
def places_from(row: int, by_row: set[str]) -> Iterator[None]:
    """Make errors of a chunk, which begins with this row, name the rows of the whole."""

    def of_whole(text: str) -> str:
        place = rf"\b((?:{'|'.join(sorted(by_row))}|row )\[)(\d+)"
        text = re.sub(place, lambda found: f"{found[1]}{int(found[2]) + row}", text)
        return re.sub(r"^out ", "log_probs_out ", text)

    try:
        with reworded(of_whole):
            yield
    except LabelError as error:
        error.index = (error.index[0] + row, *error.index[1:])
        raise
