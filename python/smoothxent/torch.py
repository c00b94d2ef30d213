r"""A replacement for torch.nn.functional.cross_entropy, for tensors on the CPU.

The forward pass computes the loss and its gradient in one pass over the logits. The backward pass
only multiplies this gradient by that of the loss::

    forward     loss, grad = cross_entropy_value_and_grad(input, target)
    backward    d input    = grad * d loss

The gradient is kept for the backward pass. If no gradient is required (under ``torch.no_grad``, or
for logits that do not require one), only the loss is computed. Both passes are operators registered
with torch.library, so torch.compile keeps them in one graph with the rest of the model. Tensors are
read and written without a copy. The results are those of the NumPy functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    import torch
    from torch import Tensor
    from torch.nn import _reduction
except ImportError as error:
    raise ImportError("smoothxent.torch needs PyTorch: pip install 'smoothxent[torch]'") from error

from smoothxent import _options
from smoothxent import _torch_operators as _operators
from smoothxent._arrays import as_numpy_real
from smoothxent._types import ArrayLike

__all__ = ["CrossEntropyLoss", "cross_entropy"]

_REDUCTIONS = ("none", "mean", "sum")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    prior: ArrayLike | Tensor | None = None,
) -> Tensor:
    r"""Return the cross-entropy loss of logits on the CPU, with label smoothing towards any prior.

    Use it in place of ``torch.nn.functional.cross_entropy``, whose arguments it has.
    `CrossEntropyLoss` is the same as a module. Backward passes, ``torch.compile`` and
    ``torch.autocast`` work as in PyTorch.

    For one row of C logits z with softmax p, target distribution q (all mass on y for the label y),
    prior u and label smoothing eps,

    .. math::
       q' = (1 - \varepsilon)\, q + \varepsilon\, u,

       \ell = -\sum_{k=1}^C w_k\, q'(k) \log p(k),

       \frac{\partial \ell}{\partial z_k} = Q'\, p(k) - w_k\, q'(k),

       Q' = \sum_{k=1}^C w_k\, q'(k).

    Parameters
    ----------
    input : Tensor
        Logits of shape (C,), (N, C) or (N, C, d1, ...), of float16, bfloat16, float32 or float64,
        with any strides.
    target : Tensor
        Labels of any integer type and of the shape of `input` without C, each in [0, C) or
        `ignore_index`; or probabilities of the shape of `input`, of any of the four types.
    weight : Tensor, optional
        w, of shape (C,), finite and non-negative: a weight for each class. Ones by default.
    size_average, reduce : bool, optional
        Deprecated in PyTorch. They override `reduction` and raise PyTorch's warning.
    ignore_index : int, default -100
        The label of ignored rows: they do not count in the mean, and their logits are not read.
        With probabilities it must be negative, and has no effect.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides the sum of the losses by the sum of the weights of the labels. For
        probabilities it divides by the number of rows, whatever the weights and the sums of the
        probabilities are.
    label_smoothing : float, default 0.0
        eps, in [0, 1].
    prior : Tensor or array_like, optional
        u, of shape (C,), or broadcastable to `input` with C classes along its axis 1: a prior for
        each row. Finite and non-negative; each distribution must sum to 1 within
        ``1e-6 * max(1, sqrt(C))``. Uniform, 1 / C, by default. If `label_smoothing` is 0, PyTorch's
        default, a prior would have no effect, so it is an error.

    Returns
    -------
    Tensor
        A 0-d tensor, or the losses of the rows for "none". The type is that of PyTorch's loss: the
        type of ``input``, promoted with the type of the probabilities if ``target`` has probabilities,
        and with float32 under ``torch.autocast``.

    Raises
    ------
    LabelError
        If a label is neither in [0, C) nor `ignore_index`.
    TypeError
        If an argument is not a tensor, or has an unsupported type or another device; or if
        ``target``, ``weight`` or ``prior`` requires a gradient.
    ValueError
        If the shape or value of an argument is not as described.
    NotImplementedError
        If an argument has a tangent (forward-mode differentiation).
    RuntimeError
        In the backward pass, if a second derivative is requested (``create_graph=True``).

    See Also
    --------
    CrossEntropyLoss : The same as a module.
    smoothxent.cross_entropy_value_and_grad : The loss and its gradient, for NumPy arrays.

    Notes
    -----
    If `input` requires a gradient, the forward pass computes it together with the loss. It is kept
    in the type of `input` until the backward pass, which multiplies it by the gradient of the loss.
    If that is 1 and the graph is not retained, the gradient is returned without a copy. For "none"
    the labels are kept too. Log-probabilities are never kept.

    float16 gradients are rounded before a gradient scaler can scale them up: values below 3e-8
    become 0. bfloat16 has the range of float32.

    Special values are those of `smoothxent.cross_entropy`, which differ from PyTorch's. A logit of
    -inf makes no difference where the probability is 0, and ignored rows may contain anything.
    Negative probabilities and weights are refused, and so is a `label_smoothing` that is negative
    or nan. Confident and correct rows keep the digits of their loss and gradient, which are 0 in
    PyTorch.

    The loss uses the threads of smoothxent (`smoothxent.set_num_threads`), not those of PyTorch
    (``torch.set_num_threads``). Forward-mode differentiation, the transforms of ``torch.func`` that
    differentiate, and backward passes through ``torch.vmap`` are not supported.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import torch
    >>> import smoothxent.torch
    >>> input = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]], requires_grad=True)
    >>> target = torch.tensor([0, 1])
    >>> options = {"label_smoothing": 0.1, "reduction": "sum"}
    >>> loss = smoothxent.torch.cross_entropy(input, target, **options)
    >>> round(loss.item(), 6)
    0.802529
    >>> loss.backward()
    >>> input.grad
    tensor([[-0.2681,  0.2114,  0.0567],
            [ 0.0119, -0.0239,  0.0119]])

    Towards the frequencies of the classes:

    >>> prior = smoothxent.class_prior([0, 1, 1, 2], 3)
    >>> options = {"label_smoothing": 0.1, "prior": prior}
    >>> loss = smoothxent.torch.cross_entropy(input, target, **options)
    >>> round(loss.item(), 6)
    0.376264
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    if reduction not in _REDUCTIONS:
        raise ValueError(f'reduction must be "none", "mean" or "sum", got {reduction!r}')
    _check_tensor(input, "input")
    if input.dtype not in _FLOATS:
        raise TypeError(
            f"input has dtype {input.dtype}, expected float16, bfloat16, float32 or float64"
        )
    if input.dim() == 0:
        raise ValueError("input must have shape (C,), (N, C) or (N, C, d1, ...), got ()")
    _check_constant(target, "target", input)
    if weight is not None:
        _check_constant(weight, "weight", input)
    u = None
    if prior is not None:
        u = prior if isinstance(prior, Tensor) else _tensor(prior).to(input.device)
        _check_constant(u, "prior", input)
        _check_smoothing(label_smoothing)
    ignored = _ignored_label(ignore_index, target)
    dtype = input.dtype
    if target.is_floating_point():
        dtype = torch.promote_types(dtype, target.dtype)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.promote_types(dtype, torch.float32)
    eps = _options.number(label_smoothing, "label_smoothing")
    arguments = (input, target, weight, u, reduction, ignored, eps, dtype)
    if input.requires_grad and torch.is_grad_enabled():
        loss, _ = _operators.value_and_grad(*arguments)
    else:
        loss = _operators.value(*arguments)
    return loss


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """The loss of `cross_entropy` as a module, a replacement for ``torch.nn.CrossEntropyLoss``.

    Parameters
    ----------
    weight, size_average, ignore_index, reduce, reduction, label_smoothing : optional
        As for `cross_entropy`, in the order of ``torch.nn.CrossEntropyLoss``.
    prior : Tensor or array_like, optional
        As for `cross_entropy`; it is an error without `label_smoothing`. It becomes a buffer of the
        module, like `weight`, and is copied unless it is a tensor. If the module is converted to
        float16 or bfloat16, as by ``half()``, so is the prior; it is then unlikely to sum to 1.

    See Also
    --------
    cross_entropy : The loss, its gradient and what differs from PyTorch.

    Examples
    --------
    >>> import torch
    >>> import smoothxent.torch
    >>> loss_of = smoothxent.torch.CrossEntropyLoss(label_smoothing=0.1)
    >>> loss_of
    CrossEntropyLoss()
    >>> round(loss_of(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item(), 6)
    0.507606
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        prior: ArrayLike | Tensor | None = None,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        self.prior: Tensor | None
        if prior is not None:
            _check_smoothing(label_smoothing)
            if not isinstance(prior, Tensor):  # a copy, since loading a state overwrites it
                prior = _tensor(prior).clone()
        self.register_buffer("prior", prior)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss, as `cross_entropy` does."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            prior=self.prior,
        )


def _check_smoothing(label_smoothing: float) -> None:
    """Refuse a smoothing of 0, with which a prior would have no effect."""
    if label_smoothing == 0.0:
        raise ValueError(
            "prior is given with a label_smoothing of 0, which is PyTorch's default; pass how much goes to "
            "it, for example label_smoothing=0.1, or prior=None"
        )


def _ignored_label(ignore_index: int, target: Tensor) -> int:
    """Return the label of ignored rows; with probabilities no row can be ignored."""
    ignored = _options.integer(ignore_index, "ignore_index")
    if not -(2**63) <= ignored < 2**63:
        raise ValueError(f"ignore_index must fit 64 bits, got {ignored}")
    if ignored >= 0 and target.is_floating_point():
        raise ValueError(
            f"ignore_index is {ignored}, but target has probabilities, of which no row is ignored: "
            "pass labels, or a negative ignore_index"
        )
    return ignored


def _tensor(prior: ArrayLike) -> Tensor:
    """Return a prior that is not a tensor as one, by the rules of the NumPy functions."""
    if torch.compiler.is_compiling():  # tensors take the place of NumPy arrays here
        return torch.as_tensor(prior, dtype=torch.float64)
    array = as_numpy_real(prior, "prior")
    return torch.from_numpy(np.require(array, requirements=["C", "A", "W"]))


def _check_tensor(obj: Any, name: str) -> None:
    if not isinstance(obj, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(obj).__name__}")
    if obj.layout is not torch.strided:
        raise TypeError(f"{name} has layout {obj.layout}; pass {name}.to_dense()")
    if obj.device.type not in ("cpu", "meta"):  # meta tensors have only shapes
        raise TypeError(
            f"{name} is on device {obj.device}, and smoothxent computes on the CPU: pass "
            f"{name}.cpu(), or call torch.nn.functional.cross_entropy"
        )
    if torch.autograd.forward_ad.unpack_dual(obj).tangent is not None:
        raise NotImplementedError(
            f"{name} has a tangent, but smoothxent.torch.cross_entropy has no forward-mode "
            "differentiation; torch.nn.functional.cross_entropy has"
        )


def _check_constant(obj: Any, name: str, input: Tensor) -> None:
    _check_tensor(obj, name)
    if obj.device != input.device:
        raise TypeError(
            f"{name} is on device {obj.device}, and input on {input.device}: pass tensors on one device"
        )
    if obj.requires_grad and torch.is_grad_enabled():
        raise TypeError(
            f"{name} requires a gradient, but there is one with respect to input alone: pass "
            f"{name}.detach(), or call torch.nn.functional.cross_entropy"
        )
