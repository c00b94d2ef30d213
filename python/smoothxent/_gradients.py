"""The gradient of the loss with respect to the logits, in the pass that gives the loss.

    gradient = p - q'

The class of the label is summed up from the other classes, never computed as p - 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from smoothxent import _smoothxent as _native
from smoothxent._builtin import as_builtin

if TYPE_CHECKING:
    from typing import SupportsFloat, SupportsIndex

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from smoothxent._types import Float, Out, Reduction, Row, Scalar


@overload
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    label_smoothing: SupportsFloat | None = None,
    prior: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    z_loss: SupportsFloat = 0.0,
    axis: SupportsIndex = -1,
    reduction: Scalar = "mean",
    normalizer: SupportsFloat | None = None,
    out: NDArray[Any] | None = None,
    grad_out: Out,
) -> tuple[float, Out]: ...
@overload
def cross_entropy_value_and_grad(
    logits: NDArray[Float],
    targets: ArrayLike,
    *,
    label_smoothing: SupportsFloat | None = None,
    prior: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    z_loss: SupportsFloat = 0.0,
    axis: SupportsIndex = -1,
    reduction: Scalar = "mean",
    normalizer: SupportsFloat | None = None,
    out: NDArray[Any] | None = None,
    grad_out: None = None,
) -> tuple[float, NDArray[Float]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    label_smoothing: SupportsFloat | None = None,
    prior: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    z_loss: SupportsFloat = 0.0,
    axis: SupportsIndex = -1,
    reduction: Scalar = "mean",
    normalizer: SupportsFloat | None = None,
    out: NDArray[Any] | None = None,
    grad_out: None = None,
) -> tuple[float, NDArray[np.floating[Any]]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: NDArray[Row],
    targets: ArrayLike,
    *,
    label_smoothing: SupportsFloat | None = None,
    prior: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    z_loss: SupportsFloat = 0.0,
    axis: SupportsIndex = -1,
    reduction: Literal["none"],
    normalizer: SupportsFloat | None = None,
    out: None = None,
    grad_out: None = None,
) -> tuple[NDArray[Row], NDArray[Row]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    label_smoothing: SupportsFloat | None = None,
    prior: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    z_loss: SupportsFloat = 0.0,
    axis: SupportsIndex = -1,
    reduction: Literal["none"],
    normalizer: SupportsFloat | None = None,
    out: NDArray[Any] | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]: ...
@as_builtin
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    label_smoothing: SupportsFloat | None = None,
    prior: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    z_loss: SupportsFloat = 0.0,
    axis: SupportsIndex = -1,
    reduction: Reduction = "mean",
    normalizer: SupportsFloat | None = None,
    out: NDArray[Any] | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[float | NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    r"""Return the cross-entropy loss and its gradient with respect to the logits.

    Use it for training: one pass gives both. `cross_entropy` gives the loss alone, with the same
    bits, and needs no array of the size of the logits.

    For one row, in the terms of `cross_entropy`, and with Q' the sum of q' (1 unless the given
    probabilities or prior sum to something else),

    .. math:: \frac{\partial \ell}{\partial z_k} = Q'\, p(k) - q'(k).

    With weights, temperature T and z_loss :math:`\lambda` it is

    .. math::
       \frac{s}{T} \bigl[ (Q' + 2 \lambda\, \mathrm{lse}(z / T))\, p(k) - c_k\, q'(k) \bigr],

       Q' = \sum_{k=1}^K c_k\, q'(k).

    A divisor of the loss divides it too. The gradient for "none" is that of "sum".

    Parameters
    ----------
    logits, targets : array_like
        As for `cross_entropy`.
    label_smoothing, temperature, z_loss, normalizer : float, optional
        As for `cross_entropy`.
    prior, class_weight, sample_weight, where : array_like, optional
        As for `cross_entropy`.
    ignore_index : int or None, default -100
        As for `cross_entropy`.
    axis : int, default -1
        The axis of the classes.
    reduction : {"mean", "sum", "sum_by_nonzero_weights", "none"}, default "mean"
        As for `cross_entropy`.
    out : ndarray, optional
        Where to write the loss, as for `cross_entropy`.
    grad_out : ndarray, optional
        Where to write the gradient: of the shape of `logits` and of one of the four types of logits,
        in native byte order. It may be `logits` itself, or overlap any argument but `out`.

    Returns
    -------
    loss : float or ndarray
        What `cross_entropy` returns, in nats.
    grad : ndarray
        The gradient, of the shape and type of `logits`. It is `grad_out` if that is given,
        otherwise a new array.

    Raises
    ------
    LabelError
        If a label is neither in [0, K) nor `ignore_index`.
    TypeError
        If an argument is of a type that cannot be used: also integers where probabilities are
        expected, and the reverse.
    ValueError
        If an argument has a shape or value that is not as described. `out` and `grad_out` are then
        unchanged.

    See Also
    --------
    cross_entropy : The loss alone.
    cross_entropy_terms : The parts of the loss, for each row.
    smooth_labels : The smoothed targets q' as an array.

    Notes
    -----
    Special values, beside those of `cross_entropy`:

    - The gradient of a row that does not count is exactly 0, and so is all of it if no row counts.
    - The gradient is exactly 0 on the classes that `where` removes.
    - It is finite where the loss is +inf, and nan in the rows where the loss is nan.
    - A class with logit -inf and no mass has gradient exactly 0. One class: the gradient is 0.

    Accuracy: for a row, before weights and a division for "mean", within 3.5 ulp of the larger of p(k) and
    q'(k), 5 on any row. Priors, class weights and probability targets are rounded to the type of the rows.
    At the label it is computed from the other classes, so it keeps its digits where p(y) is close
    to 1.

    Large inputs are shared among up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options: not on other rows (beyond the divisor),
    memory layout, threads or instruction set.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> loss, grad = sx.cross_entropy_value_and_grad(logits, [0, 1], reduction="sum")
    >>> round(loss, 6)
    0.502529
    >>> grad
    array([[-0.33475904,  0.24472847,  0.09003057],
           [ 0.0452785 , -0.090557  ,  0.0452785 ]])

    In place, the gradient overwriting the logits:

    >>> _, grad = sx.cross_entropy_value_and_grad(logits, [0, 1], grad_out=logits)
    >>> grad is logits
    True
    """
    return _native.cross_entropy_value_and_grad(
        logits,
        targets,
        label_smoothing,
        prior,
        class_weight,
        sample_weight,
        ignore_index,
        where,
        temperature,
        z_loss,
        axis,
        reduction,
        normalizer,
        out,
        grad_out,
    )
