"""The cross-entropy of softmax predictions with smoothed targets: value and gradient.

With q' = (1 - eps) q + eps u, M = max_k z_k, S = sum_k exp(z_k - M) and L = log S:

    loss     = (1 - eps) [(M - z_y) + L] + eps [L + sum_k u_k (M - z_k)]     (no negative term)
    gradient = p - q'

Each function here is a signature, its documentation, and one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from smoothxent import _smoothxent as _native

if TYPE_CHECKING:
    from typing import SupportsFloat, SupportsIndex

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    _Out = TypeVar("_Out", bound=NDArray[Any])


@overload
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    label_smoothing: SupportsFloat = 0.0,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: Literal["mean", "sum"] = "mean",
    out: NDArray[Any] | None = None,
) -> float: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    label_smoothing: SupportsFloat = 0.0,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: Literal["none"],
    out: _Out,
) -> _Out: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    label_smoothing: SupportsFloat = 0.0,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: Literal["none"],
    out: None = None,
) -> NDArray[np.floating[Any]]: ...
@overload
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    label_smoothing: SupportsFloat = 0.0,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: str,
    out: NDArray[Any] | None = None,
) -> float | NDArray[np.floating[Any]]: ...
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    label_smoothing: SupportsFloat = 0.0,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: str = "mean",
    out: NDArray[Any] | None = None,
) -> float | NDArray[np.floating[Any]]:
    r"""Return the cross-entropy loss of the logits, with label smoothing.

    Use it for evaluation. `cross_entropy_value_and_grad` also gives the gradient, in the same pass;
    `cross_entropy_terms` gives the parts that the loss is made of.

    For one row of K logits z with softmax p, target distribution q (all mass on y for the label y),
    prior u and label smoothing eps,

    .. math::
       q' = (1 - \varepsilon)\, q + \varepsilon\, u, \qquad
       \ell = -\sum_{k=1}^K q'(k) \log p(k)
            = (1 - \varepsilon)\, H(q, p) + \varepsilon\, H(u, p).

    Parameters
    ----------
    logits : array_like
        float32 or float64 with K classes along `axis`; the other axes, of shape S, are the rows.
        Any memory layout. Integers, bools and lists are converted to float64.
    targets : array_like
        Integer labels of shape S, each in [0, K) or `ignore_index`; or probabilities in float32 or
        float64 of the shape of `logits`, finite and non-negative. Probabilities that do not sum to
        1 are used as given.
    label_smoothing : float, default 0.0
        eps, in [0, 1]. With 0 the values of `prior` are not read.
    prior : array_like, optional
        u, of shape (K,) whatever `axis` is, or broadcastable to `logits` with K classes along
        `axis`. Finite and non-negative, each distribution summing to 1 within
        ``1e-6 * max(1, sqrt(K))``; used as given, never renormalised. Uniform, 1 / K, by default.
    ignore_index : int or None, default -100
        The label of rows that do not count: their logits are not read. None: there is none. It
        has no meaning for probabilities.
    axis : int, default -1
        The axis of the classes.
    reduction : {"mean", "sum", "none"}, default "mean"
        "sum" adds the losses of the rows. "mean" divides that by the mass of the targets before
        smoothing: the number of rows that are not ignored, or the sum of all probabilities.
        "none" returns the losses.
    out : ndarray, optional
        Where to write the result: of shape S for "none", 0-d otherwise, and of a floating type.

    Returns
    -------
    float or ndarray
        A Python float for "mean" and "sum", accumulated in float64. For "none", losses of shape S
        in the type of `logits`; it is `out` if that is given, otherwise a new array.

    Raises
    ------
    LabelError
        If a label is neither in [0, K) nor `ignore_index`.
    TypeError
        If an argument is of a type that cannot be used: also integers where probabilities are
        expected, and the reverse.
    ValueError
        If an argument has a shape or value that is not as described. `out` is then unchanged.

    Notes
    -----
    Special values:

    - An ignored row has loss exactly 0, whatever its logits hold. If no row counts, "mean" is nan
      and "sum" is 0.
    - A logit of -inf makes the loss +inf where the smoothed target has mass, and no difference
      where it has none (0 log 0 is 0).
    - A row with a NaN or +inf, or with nothing but -inf, has loss nan. Other rows are not affected.
    - One class: the loss is 0.
    - Label smoothing 0 is bit for bit no smoothing; 1 leaves the prior alone, H(u, p).
    - Probabilities with a single 1 in each row give the bits that the labels give.

    TensorFlow and PyTorch use the same eps. Libraries that spread it over the K - 1 other classes
    (fairseq, Megatron-LM) need ``eps * K / (K - 1)`` here.

    Accuracy: the loss of a row is within 2 ulp of the exact value, also where it is close to 0. No
    array of the size of the logits is allocated.

    Large inputs are shared among up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options: not on other rows, memory layout, threads or
    instruction set.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [9.0, 9.0, 9.0]])
    >>> labels = np.array([0, 1, -100])
    >>> round(sx.cross_entropy(logits, labels), 6)
    0.251264
    >>> sx.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    array([0.50760596, 0.29492296, 0.        ])

    The same with smoothed targets that are written out:

    >>> q = sx.smooth_labels(labels[:2], 3, label_smoothing=0.1, dtype=np.float64)
    >>> sx.cross_entropy(logits[:2], q, reduction="none")
    array([0.50760596, 0.29492296])
    """
    return _native.cross_entropy(
        logits, targets, label_smoothing, prior, ignore_index, axis, reduction, out
    )


@overload
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    label_smoothing: SupportsFloat = 0.0,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: Literal["mean", "sum"] = "mean",
    out: NDArray[Any] | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[float, NDArray[np.floating[Any]]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    label_smoothing: SupportsFloat = 0.0,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: Literal["none"],
    out: NDArray[Any] | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]: ...
@overload
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    label_smoothing: SupportsFloat = 0.0,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: str,
    out: NDArray[Any] | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[float | NDArray[np.floating[Any]], NDArray[np.floating[Any]]]: ...
def cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    label_smoothing: SupportsFloat = 0.0,
    prior: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = -100,
    axis: SupportsIndex = -1,
    reduction: str = "mean",
    out: NDArray[Any] | None = None,
    grad_out: NDArray[Any] | None = None,
) -> tuple[float | NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    r"""Return the cross-entropy loss and its gradient with respect to the logits.

    Use it for training: one pass gives both. `cross_entropy` gives the loss alone, with the same
    bits, and needs no array of the size of the logits.

    For one row, in the terms of `cross_entropy`, and with Q' the sum of q' (1 unless the given
    probabilities or prior sum to something else),

    .. math:: \frac{\partial \ell}{\partial z_k} = Q'\, p(k) - q'(k).

    "mean" divides it by the same number as the loss. The gradient for "none" is that of "sum".

    Parameters
    ----------
    logits, targets : array_like
        As for `cross_entropy`.
    label_smoothing : float, default 0.0
        As for `cross_entropy`.
    prior : array_like, optional
        As for `cross_entropy`.
    ignore_index : int or None, default -100
        As for `cross_entropy`.
    axis : int, default -1
        The axis of the classes.
    reduction : {"mean", "sum", "none"}, default "mean"
        As for `cross_entropy`.
    out : ndarray, optional
        Where to write the loss, as for `cross_entropy`.
    grad_out : ndarray, optional
        Where to write the gradient: of the shape of `logits` and of a type to which it can be cast
        under "same_kind". It may be `logits` itself, or overlap any argument but `out`.

    Returns
    -------
    loss : float or ndarray
        What `cross_entropy` returns.
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

    Notes
    -----
    Special values, beside those of `cross_entropy`:

    - The gradient of an ignored row is exactly 0, and so is all of it if no row counts.
    - It is finite where the loss is +inf, and nan in the rows where the loss is nan.
    - A class with logit -inf and no mass has gradient exactly 0. One class: the gradient is 0.

    Accuracy: for a row, before a division for "mean", within 2 ulp of the larger of p(k) and q'(k).
    At the label it is computed from the other classes, so it keeps its digits where p(y) is close
    to 1.

    Large inputs are shared among up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options: not on other rows (beyond the divisor of "mean"),
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
        logits, targets, label_smoothing, prior, ignore_index, axis, reduction, out, grad_out
    )
