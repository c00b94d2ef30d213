"""The cross-entropy of softmax predictions with smoothed targets.

With q' = (1 - eps) q + eps u, M = max_k z_k, S = sum_k exp(z_k - M) and L = log S:

    loss     = (1 - eps) [(M - z_y) + L] + eps [L + sum_k u_k (M - z_k)]     (no negative term)
"""

from __future__ import annotations

from typing import Any, Literal, SupportsFloat, SupportsIndex, overload

import numpy as np

from smoothxent import _smoothxent as _native
from smoothxent._builtin import as_builtin
from smoothxent._types import ArrayLike, NDArray, Out, Output, Reduction, Row, Scalar


def sum_arguments(
    logits: ArrayLike,
    targets: ArrayLike,
    label_smoothing: SupportsFloat | None,
    prior: ArrayLike | None,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex | None = None,
    where: ArrayLike | None = None,
    temperature: SupportsFloat = 1.0,
    z_loss: SupportsFloat = 0.0,
    axis: SupportsIndex = -1,
) -> tuple[Any, ...]:
    """Return the arguments of a native loss in their order, for reduction "sum"."""
    normalizer, out = None, None
    weights = (class_weight, sample_weight, ignore_index, where)
    options = (temperature, z_loss, axis, "sum", normalizer, out)
    return (logits, targets, label_smoothing, prior, *weights, *options)


@overload
def cross_entropy(
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
) -> float: ...
@overload
def cross_entropy(
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
    out: Out,
) -> Out: ...
@overload
def cross_entropy(
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
) -> NDArray[Row]: ...
@overload
def cross_entropy(
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
    out: None = None,
) -> NDArray[np.floating[Any]]: ...
@as_builtin
def cross_entropy(
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
) -> float | Output:
    r"""Return the cross-entropy loss of the logits, with label smoothing.

    Use it for evaluation. For training use `cross_entropy_value_and_grad`, which computes the
    gradient in the same pass. `cross_entropy_terms` returns the parts of the loss.

    For one row of K logits z with softmax p, target distribution q (all mass on y for the label y),
    prior u and label smoothing eps,

    .. math::
       q' = (1 - \varepsilon)\, q + \varepsilon\, u,

       \ell = -\sum_{k=1}^K q'(k) \log p(k),

       \ell = (1 - \varepsilon)\, H(q, p) + \varepsilon\, H(u, p).

    With class weights c, sample weight s, temperature T and z_loss :math:`\lambda`, the softmax is
    that of z / T, and

    .. math::
       \ell = s \Bigl[ -\sum_{k=1}^K c_k\, q'(k) \log p(k) + \lambda\, \mathrm{lse}(z / T)^2 \Bigr].

    Parameters
    ----------
    logits : array_like
        float16, bfloat16, float32 or float64 with K classes along `axis`; the other axes, of shape
        S, are the rows. Any memory layout. Integers, bools and lists of Python numbers are
        converted to float64.
    targets : array_like
        Integer labels of shape S, each in [0, K) and below 2**32 - 1, or `ignore_index`; or
        probabilities, in any of the four types and of the shape of `logits`, finite and
        non-negative. Probabilities that do not sum to 1 are used as given.
    label_smoothing : float, optional
        eps, in [0, 1]; no smoothing by default. It is an error to give a `prior` without it. If it
        is an explicit 0.0, the values of the prior are not read.
    prior : array_like, optional
        u, of shape (K,) whatever `axis` is, or broadcastable to `logits` with K classes along
        `axis`. Finite and non-negative; each distribution must sum to 1 within ``1e-6 * max(1,
        sqrt(K))``. It is used as given, except that with `where` it is divided by its sum over the
        remaining classes. Uniform, 1 / K, by default.
    class_weight : array_like, optional
        c, of shape (K,), finite and non-negative: a weight for each class of the smoothed target,
        like PyTorch's `weight`. Ones by default.
    sample_weight : array_like, optional
        s, broadcastable to S, finite and non-negative: a weight for each row. The logits of a row
        with weight 0 are not read. Ones by default.
    ignore_index : int or None, default -100
        The label of ignored rows: they do not count in any mean, and their logits are not read.
        None means that there is no such label. It has no meaning for probability targets.
    where : array_like of bool, optional
        The classes that take part, broadcastable to `logits` as in NumPy: a mask of shape (K,) is
        along the last axis, whatever `axis` is. False removes a class from the softmax, whatever
        its logit is, and u is divided by its sum over the remaining classes. A row without any
        remaining class does not count. By default all classes take part.
    temperature : float, default 1.0
        T, between 1e-30 and 1e30: the logits are divided by T.
    z_loss : float, default 0.0
        lambda, the factor of lse(z / T)^2 in the loss of a row; finite and non-negative.
    axis : int, default -1
        The axis of the classes.
    reduction : {"mean", "sum", "sum_by_nonzero_weights", "none"}, default "mean"
        "sum" returns the sum of the losses of the rows. "mean" divides this sum by the sum of
        s c_k q(k) over the classes of all rows that count. For labels without weights this is the
        number of rows that count; for probabilities without weights it is the sum of all
        probabilities. "sum_by_nonzero_weights" divides the sum of the losses by the number of rows
        that count. "none" returns the loss of each row.
    normalizer : float, optional
        A divisor that replaces the one of "mean" or "sum_by_nonzero_weights": a positive finite
        number, for example the number of tokens in all parts of a batch. It is an error with "sum"
        and "none".
    out : ndarray, optional
        Where to write the result: an array of shape S for "none", 0-d otherwise, of one of the four
        types of logits, in native byte order.

    Returns
    -------
    float or ndarray
        The loss in nats: a Python float, accumulated in float64, also if `out` is given. For
        "none", an array of shape S: `out` if that is given, otherwise a new array, of float64 for
        float64 logits and of float32 for all others.

    Raises
    ------
    LabelError
        If a label is neither in [0, K) nor `ignore_index`.
    TypeError
        If an argument has an unsupported type, also if `targets` are integers with another number
        of axes than labels have, or floating-point numbers with another number than probabilities.
    ValueError
        If the shape or value of an argument is not as described. `out` is then unchanged.

    See Also
    --------
    cross_entropy_value_and_grad : The loss and its gradient.
    cross_entropy_terms : The parts of the loss, for each row.
    score : The loss, accuracy and calibration error of data that may be larger than memory.
    smooth_labels : The smoothed targets as an array.
    class_prior : A prior counted from labels.

    Notes
    -----
    Special values:

    - A row counts unless it is ignored, has sample weight 0, or `where` removes all of its classes.
      A row that does not count has loss exactly 0, whatever its logits are.
    - If no row counts, "mean" is nan, or 0 with a `normalizer`. "sum" and
      "sum_by_nonzero_weights" are 0. "mean" is also nan if its divisor is 0 for another reason:
      the weights of all labels are 0, or all probability targets.
    - If the smoothed target has mass on a class with logit -inf, or on one that `where` removes,
      the loss is +inf, unless the weight of the class is 0. Any other logit of -inf makes no
      difference (0 log 0 is 0).
    - A row with a NaN or +inf, or with nothing but -inf, has loss nan. Other rows are not affected.
    - With a single class (K = 1) the loss is 0, apart from `z_loss`.
    - With label smoothing 0 the bits are those without smoothing. With 1 the loss is H(u, p).
    - One-hot probabilities give the same bits as labels.

    TensorFlow and PyTorch use the same eps. Libraries that spread eps over the K - 1 other classes
    (fairseq, Megatron-LM) need ``eps * K / (K - 1)`` here.

    Accuracy: the error of the loss of a row is at most 2 ulp on ordinary rows of 1,000 classes or
    more, and at most 3 ulp on any row, also where the loss is close to 0. For smoothed
    probabilities it is at most 4 ulp on any row. With weights, masks or a temperature that is not a
    power of two, it is at most 5 ulp in float32 and 7 ulp in float64. To this, `z_loss` adds the
    error of its term: with M the largest logit and lse(z / T) = M / T + L, the error of lse(z / T)
    is at most 3.5 ulp of max(abs(M / T), L). Priors, class weights and probability targets are
    first rounded to the type of the rows. No array of the size of the logits is allocated.

    Large inputs are processed by up to `get_num_threads` threads. The bits of a row depend only on
    its values, K, the types and the options, not on other rows, the memory layout, the number of
    threads or the instruction set.

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

    The same with smoothed targets as an array:

    >>> q = sx.smooth_labels(labels[:2], 3, label_smoothing=0.1, dtype=np.float64)
    >>> sx.cross_entropy(logits[:2], q, reduction="none")
    array([0.50760596, 0.29492296])
    """
    return _native.cross_entropy(
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
    )
