r"""The loss as PyTorch calls it, for tensors on the CPU: a drop-in of torch.nn.functional.cross_entropy.

Its backward pass has nothing left to compute: one pass over the logits gives the loss and its gradient::

    forward     loss, grad = cross_entropy_value_and_grad(input, target)
    backward    d input    = grad * d loss

The gradient is kept for the backward pass. Where no gradient is asked for (``torch.no_grad``,
logits that need none) only the loss is computed. Both passes are operators of torch.library, so torch.compile
has them in one graph with what is around them.
Memory of tensors is read and written where it lies; the arithmetic is that of the NumPy functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

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

    Use it in the place of ``torch.nn.functional.cross_entropy``, whose arguments it has; `CrossEntropyLoss`
    is the same as a module. Backward passes, ``torch.compile`` and ``torch.autocast`` work as with that.

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
        Logits of shape (C,), (N, C) or (N, C, d1, ...) in float16, bfloat16, float32 or float64, of
        any strides.
    target : Tensor
        Labels of any integer type and the shape of `input` without C, each in [0, C) or
        `ignore_index`; or probabilities of the shape of `input`, in any of the four types.
    weight : Tensor, optional
        w, of shape (C,), finite and non-negative: a weight for each class. Ones by default.
    size_average, reduce : bool, optional
        Deprecated by PyTorch: they take the place of `reduction`, with its warning.
    ignore_index : int, default -100
        The label of rows that do not count: their logits are not read. For probabilities it is negative.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides the sum of the losses by that of the weights of the labels; for
        probabilities by the number of rows, whatever their weights and sums.
    label_smoothing : float, default 0.0
        eps, in [0, 1].
    prior : Tensor or array_like, optional
        u, of shape (C,), or broadcastable to `input` with C classes along its axis 1: a prior for
        each row. Finite and non-negative, each distribution summing to 1 within
        ``1e-6 * max(1, sqrt(C))``. Uniform, 1 / C, by default. With a `label_smoothing` of 0 it is an error,
        for it would make no difference: an explicit 0 cannot be told from PyTorch's default.

    Returns
    -------
    Tensor
        0-d, or the losses of the rows for "none". Its type is that of PyTorch's loss: the type of
        `input`, or what it is promoted to by probabilities of another type and, under
        ``torch.autocast``, by float32.

    Raises
    ------
    LabelError
        If a label is neither in [0, C) nor `ignore_index`.
    TypeError
        If an argument is no tensor, or one of a type that cannot be used or on another device; or if
        a gradient is asked for with respect to ``target``, ``weight`` or ``prior``.
    ValueError
        If an argument has a shape or value that is not as described.
    NotImplementedError
        If an argument has a tangent, of forward-mode differentiation.
    RuntimeError
        In the backward pass, if it is to be differentiated itself (``create_graph=True``).

    See Also
    --------
    CrossEntropyLoss : The same as a module.
    smoothxent.cross_entropy_value_and_grad : The loss and its gradient, of NumPy arrays.

    Notes
    -----
    If `input` needs a gradient, the pass that gives the loss makes it too, and it is kept in the type
    of `input` until the backward pass, which multiplies it by the gradient of the loss, or hands it over
    if that is 1 and the graph is not retained. For "none" the labels are kept too, and never
    log-probabilities. float16 gradients are
    rounded before a loss scale can raise small ones: those below 3e-8 are 0. bfloat16 has the range of
    float32.

    Special values are those of `smoothxent.cross_entropy`, and so differ from PyTorch's: a logit of -inf
    makes no difference where probabilities are 0, ignored rows may hold anything, and negative
    probabilities or weights are refused, as is `label_smoothing` below 0 or nan. Rows that are right and
    certain keep the digits of their loss and gradient, which are 0 in PyTorch.

    The threads are those of smoothxent (`smoothxent.set_num_threads`), not of ``torch.set_num_threads``.
    There are no rules for the transforms of ``torch.func`` that differentiate, and none for forward mode.

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
    """The loss of `cross_entropy` as a module, in the place of ``torch.nn.CrossEntropyLoss``.

    Parameters
    ----------
    weight, size_average, ignore_index, reduce, reduction, label_smoothing
        As for `cross_entropy`, in the order of ``torch.nn.CrossEntropyLoss``.
    prior : Tensor or array_like, optional
        As for `cross_entropy`, so an error without `label_smoothing`; a buffer of the module beside
        `weight`, with memory of its own unless it is a tensor. A module that is converted to bfloat16
        converts it too, and then it hardly sums to 1.

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
            if not isinstance(prior, Tensor):  # of its own memory, to which a state may be loaded
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
    """Refuse what a prior would be no part of."""
    if label_smoothing == 0.0:
        raise ValueError(
            "prior is given with a label_smoothing of 0, which is PyTorch's default; pass how much goes to "
            "it, for example label_smoothing=0.1, or prior=None"
        )


def _ignored_label(ignore_index: int, target: Tensor) -> int:
    """Return the label that rows to ignore have, which are never asked for among probabilities."""
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
    """Return a prior that is no tensor, read as by the functions of NumPy arrays."""
    if torch.compiler.is_compiling():  # where there are no arrays, but tensors in their place
        return torch.as_tensor(prior, dtype=torch.float64)
    array = as_numpy_real(prior, "prior")
    return torch.from_numpy(np.require(array, requirements=["C", "A", "W"]))


def _check_tensor(obj: Any, name: str) -> None:
    if not isinstance(obj, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(obj).__name__}")
    if obj.layout is not torch.strided:
        raise TypeError(f"{name} has layout {obj.layout}; pass {name}.to_dense()")
    if obj.device.type not in ("cpu", "meta"):  # on meta there are shapes alone
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
