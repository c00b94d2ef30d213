"""The operators of `smoothxent.torch`: the loss and its gradient, as registered with torch.library.

    smoothxent::cross_entropy                  -> loss
    smoothxent::cross_entropy_value_and_grad   -> loss, gradient; the backward pass is a product with it

Each calls the NumPy function of its name on the memory of the tensors. An operator changes no argument and
returns new tensors. Its fake, which sees only shapes, returns the same tensors unfilled.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from smoothxent._arrays import bfloat16
from smoothxent._errors import reworded
from smoothxent._gradients import cross_entropy_value_and_grad
from smoothxent._losses import cross_entropy
from smoothxent._types import NDArray

# PyTorch's names for the arguments of the NumPy functions.
_NAMES = {"logits": "input", "targets": "target", "class_weight": "weight"}
# Remedies that its errors suggest, and what they are in PyTorch.
_REMEDIES = (
    (r"numpy\.asarray\((\w+), dtype=int\)", r"\1.long()"),
    (r"numpy\.asarray\((\w+), dtype=float\)", r"\1.float()"),
    (r"numpy\.(argmax|squeeze)\((\w+), axis=(\d+)\)", r"\2.\1(\3)"),
    (r"pass axis=(\d+)", r"pass input.movedim(\1, 1)"),
)


@torch.library.custom_op("smoothxent::cross_entropy", mutates_args=(), device_types="cpu")
def value(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    prior: Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
    dtype: torch.dtype,
) -> Tensor:
    loss = _empty_loss(input, reduction, dtype)
    options = (weight, prior, reduction, ignore_index, label_smoothing)
    _call(cross_entropy, input, target, *options, out=loss)
    return loss


@torch.library.custom_op(
    "smoothxent::cross_entropy_value_and_grad", mutates_args=(), device_types="cpu"
)
def value_and_grad(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    prior: Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    loss, grad = _empty_loss(input, reduction, dtype), torch.empty_like(input)
    options = (weight, prior, reduction, ignore_index, label_smoothing)
    _call(cross_entropy_value_and_grad, input, target, *options, out=loss, grad_out=grad)
    return loss, grad


@value.register_fake
def _(input, target, weight, prior, reduction, ignore_index, label_smoothing, dtype):  # type: ignore[no-untyped-def]
    return _empty_loss(input, reduction, dtype)


@value_and_grad.register_fake
def _(input, target, weight, prior, reduction, ignore_index, label_smoothing, dtype):  # type: ignore[no-untyped-def]
    return _empty_loss(input, reduction, dtype), torch.empty_like(input)


def _keep_grad(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, grad = output
    _, target, _, _, reduction, ignore_index, *_ = inputs
    has_ignored_rows = reduction == "none" and not target.is_floating_point()
    ctx.save_for_backward(grad, target if has_ignored_rows else None)
    ctx.ignore_index = ignore_index
    ctx.mark_non_differentiable(grad)
    ctx.set_materialize_grads(False)  # else no gradient would be zeros of the size of the logits


def _backward(ctx: Any, of_loss: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():
        raise RuntimeError(
            "smoothxent.torch.cross_entropy has no gradient of second order (create_graph=True); "
            "torch.nn.functional.cross_entropy has"
        )
    others = (None,) * 7
    if of_loss is None:
        return None, *others
    grad, target = ctx.saved_tensors
    if target is not None:  # else the gradient of ignored rows could be 0 times nan
        of_loss = of_loss.masked_fill(target.long() == ctx.ignore_index, 0.0)
    if _is_one(of_loss) and not _graph_is_kept():
        return grad, *others
    if of_loss.dim() > 0:
        of_loss = of_loss.unsqueeze(_class_axis(grad))
    return (grad * of_loss).to(grad.dtype), *others


value_and_grad.register_autograd(_backward, setup_context=_keep_grad)


def _is_one(number: Tensor) -> bool:
    """Tell whether a tensor is a scalar 1. While the pass is traced, its value is unknown."""
    if type(number) is not Tensor or number.dim() > 0:
        return False
    try:
        return bool(number.item() == 1.0)
    except RuntimeError:  # in vmap, where one tensor stands for several
        return False


def _graph_is_kept() -> bool:
    """Tell whether there may be another backward pass, for which saved tensors must not change."""
    # A private function of torch, since 2.1; without it, one more product is computed.
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or ask()


def _class_axis(input: Tensor) -> int:
    return 1 if input.dim() > 1 else 0


def _empty_loss(input: Tensor, reduction: str, dtype: torch.dtype) -> Tensor:
    shape = list(input.shape) if reduction == "none" else []
    if shape:
        del shape[_class_axis(input)]
    return input.new_empty(shape, dtype=dtype)


def _call(
    function: Callable[..., object],
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    prior: Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
    **outputs: Tensor,
) -> None:
    """Call a NumPy function, whose errors then name the arguments as PyTorch does."""
    axis = _class_axis(input)
    normalizer = None
    if reduction == "mean" and target.is_floating_point() and input.numel() > 0:
        # PyTorch divides by the number of rows, whatever the probabilities and the weights sum to.
        normalizer = input.numel() // input.shape[axis]
    with reworded(_renamed):
        function(
            memory(input),
            memory(target),
            label_smoothing=label_smoothing,
            prior=None if prior is None else memory(prior),
            class_weight=None if weight is None else memory(weight),
            ignore_index=ignore_index,
            axis=axis,
            reduction=reduction,
            normalizer=normalizer,
            **{name: memory(output) for name, output in outputs.items()},
        )


def _renamed(text: str) -> str:
    text = re.sub(rf"\b({'|'.join(_NAMES)})\b", lambda found: _NAMES[found[0]], text)
    for remedy, of_torch in _REMEDIES:
        text = re.sub(remedy, of_torch, text)
    return text


def memory(tensor: Tensor) -> NDArray[Any]:
    """Return the memory of a tensor as an array."""
    # torch does not share bfloat16 with NumPy, but it shares the same bits as int16.
    is_bfloat16 = tensor.dtype is torch.bfloat16
    bits = tensor.detach().view(torch.int16) if is_bfloat16 else tensor.detach()
    array: NDArray[Any] = bits.numpy()
    if not is_bfloat16:
        return array
    try:
        return array.view(bfloat16())
    except ImportError as error:
        raise ImportError(
            "bfloat16 tensors need ml_dtypes: pip install 'smoothxent[torch]'"
        ) from error
