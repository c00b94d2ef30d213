"""Checks of the arguments of the loss of a linear layer, before anything is computed or written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, SupportsFloat

import numpy as np

from smoothxent._arrays import FLOATS, as_mask, as_real, as_targets
from smoothxent._checks import output
from smoothxent._errors import reworded
from smoothxent._linear_products import Layer
from smoothxent._loss_options import LossOptions, refuse_others
from smoothxent._losses import cross_entropy
from smoothxent._outputs import as_output, count_change, is_same_memory, refuse_shared_memory
from smoothxent._pieces import allocated, copied
from smoothxent._types import ArrayLike, NDArray, Output, Reduction

_ARRAYS = {"prior": as_real, "class_weight": as_real, "sample_weight": as_real, "where": as_mask}
_WIDE = "float32 or float64"
_REFUSED = {
    "axis": "the rows of hidden are along all axes but the last",
    "out": "the loss is returned",
    "grad_out": "the outputs are hidden_grad_out, weight_grad_out and bias_grad_out",
}


def layer(hidden: ArrayLike, weight: ArrayLike, bias: ArrayLike | None) -> Layer:
    """Return the linear layer, whose arrays have one type, except that weights may have 16 bits."""
    with reworded(lambda text: text.replace(FLOATS, _WIDE)):
        h = as_real(hidden, "hidden")
    w = as_real(weight, "weight")
    if h.dtype.itemsize < 4:
        raise TypeError(f"hidden has dtype {h.dtype}, expected {_WIDE}")
    if h.ndim == 0:
        raise ValueError("hidden must have its features along the last axis, got shape ()")
    width = h.shape[-1]
    _check_type(w, "weight", h.dtype)
    if w.ndim != 2 or w.shape[1] != width:
        hint = "; pass weight.T" if w.ndim == 2 and w.shape[0] == width else ""
        raise ValueError(
            f"weight must have shape (classes, {width}) for hidden of shape {h.shape}, got "
            f"{w.shape}{hint}"
        )
    classes = len(w)
    if classes == 0:
        raise ValueError("weight has 0 classes along axis 0, expected at least 1")
    if bias is None:
        return Layer(h, w, None)
    b = as_real(bias, "bias")
    _check_type(b, "bias", h.dtype)
    if b.shape != (classes,):
        raise ValueError(f"bias must have shape ({classes},), got {b.shape}")
    return Layer(h, w, b.astype(h.dtype, copy=False))


def _check_type(array: NDArray[Any], name: str, wanted: np.dtype[Any]) -> None:
    if array.dtype != wanted and array.dtype.itemsize > 2:
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected {wanted}, the type of hidden, or float16 or bfloat16"
        )


def options(given: LossOptions, function: str) -> dict[str, Any]:
    """Return the options of the loss, with ndarrays for arrays."""
    refuse_others(given, function, _REFUSED)
    return {
        name: _ARRAYS[name](value, name) if name in _ARRAYS and value is not None else value
        for name, value in given.items()
    }


def targets(
    given: ArrayLike,
    layer: Layer,
    options: Mapping[str, Any],
    reduction: Reduction,
    normalizer: SupportsFloat | None,
) -> NDArray[Any]:
    """Return the targets, checked together with the options by the loss of zeros in place of logits.

    It checks all targets, with indices and shapes of the whole, but reads no logits of rows of weight 0.
    """
    checked = as_targets(given, "targets")
    if checked.dtype.kind in "iu":
        checked = copied(checked)  # what is checked is what is used
    rows = layer.hidden.shape[:-1]
    zero = np.zeros((), layer.hidden.dtype)
    weights = options.get("sample_weight")
    one_class = np.broadcast_to(zero, (*rows, 1)), np.broadcast_to(np.int8(0), rows)
    cross_entropy(*one_class, sample_weight=weights, reduction="none")
    # Whether a prior has mass under the mask is checked only for rows that count: these are computed.
    has_masked_priors = options.get("where") is not None and options.get("prior") is not None
    # The suggestion of another axis is for functions that have this argument.
    with reworded(lambda text: re.sub(r" \(with the classes along axis .*", "", text)):
        cross_entropy(
            np.broadcast_to(zero, (*rows, len(layer.weight))),
            checked,
            reduction=reduction,
            normalizer=normalizer,
            **{**options, "sample_weight": weights if has_masked_priors else 0.0},
        )
    return checked


def outputs(
    given: Mapping[str, Output | None],
    layer: Layer,
    others: Mapping[str, object],
) -> list[Any]:
    """Return the arrays for the gradients, new ones by default. None may overlap an array that has yet to be read.

    A row of the hidden gradient is written when that row of `hidden` is no longer needed, so both may be one array.
    """
    dtype = layer.hidden.dtype
    inputs = {"hidden": layer.hidden, "weight": layer.weight, "bias": layer.bias}
    read = {**inputs, **others}
    arrays: list[Any] = []
    for name, memory in given.items():
        of = inputs[name.removesuffix("_grad_out")]
        if memory is None:
            arrays.append(None if of is None else allocated(np.empty, of.shape, dtype))
            continue
        if of is None:
            raise ValueError(f"{name} is given, but there is no bias")
        out = as_output(memory, name)
        if out.dtype != dtype:
            raise TypeError(f"{name} has dtype {out.dtype}, expected {dtype}, the type of hidden")
        output(out, of.shape, name)
        if name == "hidden_grad_out" and is_same_memory(out, layer.hidden):
            del read["hidden"]  # the same array
        refuse_shared_memory(out, name, read)
        read[name] = out
        arrays.append(out)
    for memory in given.values():
        count_change(memory)
    return arrays
