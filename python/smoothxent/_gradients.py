"""The gradient of the loss with respect to the logits, computed in the same pass as the loss.

    gradient = p - q'

At the label it is computed from the sum of the other classes, so it keeps its digits where p is near 1.
"""

from __future__ import annotations

from typing import Any, Literal, SupportsFloat, SupportsIndex, overload

import numpy as np

from smoothxent import _smoothxent as _native
from smoothxent._builtin import as_builtin
from smoothxent._types import ArrayLike, Float, NDArray, Out, Output, Reduction, Row, Scalar


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
    out: Output | None = None,
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
    out: Output | None = None,
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
    out: Output | None = None,
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
    out: Output | None = None,
    grad_out: Output | None = None,
) -> tuple[float | Output, Output]:
    r"""Return the cross-entropy loss and its gradient with respect to the logits.

    Use it for training: one pass computes both. For the loss alone use `cross_entropy`, which
    returns the same bits and needs no array of the size of the logits.

    For one row, with the notation of `cross_entropy` and with Q' the sum of q' (1 unless the given
    probabilities or prior sum to something else),

    .. math:: \frac{\partial \ell}{\partial z_k} = Q'\, p(k) - q'(k).

    With weights, temperature T and z_loss :math:`\lambda` it is

    .. math::
       \frac{s}{T} \bigl[ (Q' + 2 \lambda\, \mathrm{lse}(z / T))\, p(k) - c_k\, q'(k) \bigr],

       Q' = \sum_{k=1}^K c_k\, q'(k).

    The gradient is that of the returned loss, so if the loss is divided, for example by "mean", the
    gradient is divided by the same number. For "none" it is the gradient of the sum.

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
        Where to write the gradient: an array of the shape of `logits` and of one of the four types
        of logits, in native byte order. It may be `logits` itself, or overlap any argument but
        `out`.

    Returns
    -------
    loss : float or ndarray
        What `cross_entropy` returns, in nats.
    grad : ndarray
        The gradient, of the shape and type of `logits`. If `grad_out` is given, it is returned;
        otherwise a new array.

    Raises
    ------
    LabelError
        If a label is neither in [0, K) nor `ignore_index`.
    TypeError
        If an argument has an unsupported type, also if `targets` are integers with another number
        of axes than labels have, or floating-point numbers with another number than probabilities.
    ValueError
        If the shape or value of an argument is not as described. `out` and `grad_out` are then
        unchanged.

    See Also
    --------
    cross_entropy : The loss alone.
    cross_entropy_terms : The parts of the loss, for each row.
    smooth_labels : The smoothed targets q' as an array.

    Notes
    -----
    Special values, in addition to those of `cross_entropy`:

    - The gradient of a row that does not count is exactly 0. If no row counts, or the divisor of
      "mean" is 0, the whole gradient is exactly 0.
    - The gradient is exactly 0 for the classes that `where` removes.
    - Where the loss is +inf because a class with mass has probability 0, the gradient is finite.
      In a row whose own loss is nan, it is nan for all classes that take part, unless the divisor
      of "mean" is 0.
    - For a class with logit -inf and no target mass the gradient is exactly 0.
    - With a single class (K = 1) the gradient is 0, apart from `z_loss`.

    Accuracy: without weights, masks and temperature, and before the division for "mean", the error
    is at most 3.5 ulp of the larger of p(k) and q'(k) on ordinary rows of 1,000 classes or more,
    and at most 5 ulp of it on any row. With these options it is at most 7 ulp on any row in float32
    and 9 ulp in float64. This holds where the probability and the result are normal numbers. To
    this, `z_loss` adds the error of lse(z / T), as for `cross_entropy`, times 2 lambda p(k).
    Priors, class weights and probability targets are first rounded to the type of the rows. At the
    label the gradient is computed from the other classes, so it keeps its digits where p(y) is
    close to 1.

    Large inputs are processed by up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types, the options and the divisor, not on other rows, the memory layout, the
    number of threads or the instruction set.

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

    In place: the gradient overwrites the logits.

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
