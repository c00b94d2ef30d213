"""The softmax cross-entropies of tf.compat.v1.losses, with the same arguments and reductions.

For the losses l of the rows, from `smoothxent.cross_entropy`, and weights w broadcast to them::

    none                              w l
    weighted_sum                      sum w l
    weighted_mean                     sum w l / sum w
    weighted_sum_over_batch_size      sum w l / number of rows
    weighted_sum_by_nonzero_weights   sum w l / number of rows with w != 0     (the default)

and 0 where the divisor is 0. The arguments `scope` and `loss_collection` do not exist here, because
there are no graphs.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal, SupportsFloat, overload

import numpy as np

from smoothxent._arrays import as_labels, as_logits, as_numpy_real, as_real
from smoothxent._errors import LabelError, reworded
from smoothxent._exact import ExactSum, exact_sum
from smoothxent._losses import cross_entropy
from smoothxent._options import not_one_of
from smoothxent._pieces import pieces
from smoothxent._types import ArrayLike, NDArray, Row

__all__ = ["softmax_cross_entropy", "sparse_softmax_cross_entropy"]

_Scalar = Literal[
    "weighted_sum",
    "weighted_mean",
    "weighted_sum_over_batch_size",
    "weighted_sum_by_nonzero_weights",
    "sum",
    "mean",
    "sum_over_batch_size",
    "sum_by_nonzero_weights",
]
_Reduction = _Scalar | Literal["none"]

# The values of tf.compat.v1.losses.Reduction; each is also known without "weighted_".
_REDUCTIONS = (
    "none",
    "weighted_sum",
    "weighted_mean",
    "weighted_sum_over_batch_size",
    "weighted_sum_by_nonzero_weights",
)
_SHORT = {name.removeprefix("weighted_") for name in _REDUCTIONS}
_SMALLEST = 5e-324


@overload
def softmax_cross_entropy(
    onehot_labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike = 1.0,
    label_smoothing: SupportsFloat = 0,
    reduction: _Scalar = "sum_by_nonzero_weights",
) -> float: ...
@overload
def softmax_cross_entropy(
    onehot_labels: ArrayLike,
    logits: NDArray[Row],
    weights: ArrayLike = 1.0,
    label_smoothing: SupportsFloat = 0,
    *,
    reduction: Literal["none"],
) -> NDArray[Row]: ...
@overload
def softmax_cross_entropy(
    onehot_labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike = 1.0,
    label_smoothing: SupportsFloat = 0,
    *,
    reduction: Literal["none"],
) -> NDArray[np.floating[Any]]: ...
@overload
def softmax_cross_entropy(
    onehot_labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike = 1.0,
    label_smoothing: SupportsFloat = 0,
    reduction: _Reduction = "sum_by_nonzero_weights",
) -> float | NDArray[np.floating[Any]]: ...
@np.errstate(all="ignore")  # overflow shows in the result
def softmax_cross_entropy(
    onehot_labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike = 1.0,
    label_smoothing: SupportsFloat = 0,
    reduction: _Reduction = "sum_by_nonzero_weights",
) -> float | NDArray[np.floating[Any]]:
    r"""Return the loss that tf.compat.v1.losses.softmax_cross_entropy returns.

    Use it in place of that function, for example to train Inception-v3 with smoothed labels. For
    integer labels use `sparse_softmax_cross_entropy`. `smoothxent.cross_entropy` accepts both kinds
    of labels, smooths both, and has more options.

    For one row of K logits with softmax p, one-hot label or distribution q and label smoothing eps,

    .. math::
       \ell = -\sum_{k=1}^K \bigl[ q(k)\, (1 - \varepsilon) + \varepsilon / K \bigr] \log p(k).

    Parameters
    ----------
    onehot_labels : array_like
        q, of the shape of `logits`, finite and non-negative. Integers and bools are converted to
        float64.
    logits : array_like
        float16, bfloat16, float32 or float64 with K classes along the last axis; the other axes, of
        shape S, are the rows. Integers, bools and lists of Python numbers are converted to float64.
    weights : array_like, default 1.0
        A weight for each row, finite and non-negative: a scalar, or an array with as many
        dimensions as S, each of length 1 or of the length in S. The logits of a row with weight 0
        are not read.
    label_smoothing : float, default 0
        eps, in [0, 1].
    reduction : str, default "sum_by_nonzero_weights"
        "none" returns the weighted losses of the rows, "weighted_sum" their sum. "weighted_mean"
        divides that sum by the sum of the weights, "weighted_sum_over_batch_size" by the number of
        rows, "weighted_sum_by_nonzero_weights" by the number of rows with a weight other than 0.
        Each name may also be written without "weighted\_", like the default here.

    Returns
    -------
    float or ndarray
        The loss in nats: a Python float, accumulated in float64. For "none", a new array of losses
        of shape S, of float64 for float64 logits and of float32 for all others.

    Raises
    ------
    TypeError
        If an argument has an unsupported type.
    ValueError
        If the shape or value of an argument is not as described.

    See Also
    --------
    sparse_softmax_cross_entropy : The loss of integer labels.
    smoothxent.cross_entropy : Both, with more options.

    Notes
    -----
    Special values:

    - If the divisor is 0, for example because there are no rows, the loss is 0.
    - Weights may have any finite size. A loss that is too large for its type is inf.
    - A row of weight 0 has loss 0, whatever its logits are.
    - A logit of -inf makes no difference where the smoothed label has no mass; TensorFlow returns
      nan.
    - Other special logits have the same results as in `smoothxent.cross_entropy`.

    TensorFlow adds up the losses in float32, even for float64 logits. Here only the losses of
    float32 rows are rounded to float32, and their sums are float64. TensorFlow accepts negative
    weights and a smoothing outside [0, 1]; here they are errors.

    Accuracy, threads and reproducibility are as for `smoothxent.cross_entropy`. The sum of the
    weights is exact, and rounded once.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothxent import tf_losses
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> onehot = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> round(tf_losses.softmax_cross_entropy(onehot, logits, 1.0, 0.1), 6)
    0.401264
    >>> tf_losses.softmax_cross_entropy(onehot, logits, [1.0, 0.0], 0.1, reduction="none")
    array([0.50760596, 0.        ])
    >>> tf_losses.softmax_cross_entropy(onehot, logits, weights=0.0)
    0.0
    """
    z, q = as_logits(logits, "logits"), as_real(onehot_labels, "onehot_labels")
    if q.shape != z.shape:
        raise ValueError(f"onehot_labels must have the shape of logits, {z.shape}, got {q.shape}")
    w = as_numpy_real(weights, "weights")
    return _weighted("onehot_labels", z, q, w, label_smoothing, reduction)


@overload
def sparse_softmax_cross_entropy(
    labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike = 1.0,
    reduction: _Scalar = "sum_by_nonzero_weights",
) -> float: ...
@overload
def sparse_softmax_cross_entropy(
    labels: ArrayLike,
    logits: NDArray[Row],
    weights: ArrayLike = 1.0,
    *,
    reduction: Literal["none"],
) -> NDArray[Row]: ...
@overload
def sparse_softmax_cross_entropy(
    labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike = 1.0,
    *,
    reduction: Literal["none"],
) -> NDArray[np.floating[Any]]: ...
@overload
def sparse_softmax_cross_entropy(
    labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike = 1.0,
    reduction: _Reduction = "sum_by_nonzero_weights",
) -> float | NDArray[np.floating[Any]]: ...
@np.errstate(all="ignore")  # overflow shows in the result
def sparse_softmax_cross_entropy(
    labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike = 1.0,
    reduction: _Reduction = "sum_by_nonzero_weights",
) -> float | NDArray[np.floating[Any]]:
    r"""Return the loss that tf.compat.v1.losses.sparse_softmax_cross_entropy returns.

    Use it in place of that function. For one-hot labels, with smoothing, use
    `softmax_cross_entropy`. `smoothxent.cross_entropy` smooths integer labels too.

    For one row of K logits with softmax p and label y,

    .. math:: \ell = -\log p(y).

    Parameters
    ----------
    labels : array_like
        Integer labels of shape S or (\*S, 1), each in [0, K). No label marks ignored rows: to
        ignore a row, give it weight 0.
    logits : array_like
        float16, bfloat16, float32 or float64 with K classes along the last axis; the other axes, of
        shape S, are the rows. Integers, bools and lists of Python numbers are converted to float64.
    weights : array_like, default 1.0
        As for `softmax_cross_entropy`, or of shape (\*S, 1).
    reduction : str, default "sum_by_nonzero_weights"
        As for `softmax_cross_entropy`.

    Returns
    -------
    float or ndarray
        As for `softmax_cross_entropy`.

    Raises
    ------
    LabelError
        If a label is not in [0, K), whatever its weight.
    TypeError
        If an argument has an unsupported type.
    ValueError
        If the shape or value of an argument is not as described.

    See Also
    --------
    softmax_cross_entropy : The loss of one-hot labels, with label smoothing.
    smoothxent.cross_entropy : Both, with more options.

    Notes
    -----
    The notes of `softmax_cross_entropy` apply. For a label outside [0, K) TensorFlow also raises an
    error, or returns nan if it is compiled by XLA.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothxent import tf_losses
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> round(tf_losses.sparse_softmax_cross_entropy([0, 1], logits), 6)
    0.251264
    >>> options = {"weights": [3, 1], "reduction": "weighted_mean"}
    >>> round(tf_losses.sparse_softmax_cross_entropy([0, 1], logits, **options), 6)
    0.329435
    """
    z, y = as_logits(logits, "logits"), as_labels(labels, "labels", fill=None)
    rows = z.shape[:-1]
    if y.shape not in (rows, (*rows, 1)):
        raise ValueError(
            f"labels must have shape {rows} or {(*rows, 1)} for logits of shape {z.shape}, "
            f"got {y.shape}"
        )
    w = as_numpy_real(weights, "weights")
    columns = {"labels": y.ndim > len(rows), "weights": w.ndim > len(rows) and w.shape[-1] == 1}
    w = w[..., 0] if columns["weights"] else w

    def with_column(text: str) -> str:
        match = re.match(r"(labels|weights)(?:\[([\d, ]+)\])? is ", text)
        if match is None or not columns[match[1]]:
            return text
        index = f"{match[2]}, 0" if match[2] else "0"
        return f"{match[1]}[{index}] is {text[match.end() :]}"

    try:
        with reworded(with_column):
            return _weighted("labels", z, y.reshape(rows), w, 0.0, reduction)
    except LabelError as error:
        error.index += (0,) * columns["labels"]
        raise


def _weighted(
    name: str,
    logits: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[Any],
    label_smoothing: SupportsFloat,
    reduction: str,
) -> float | NDArray[np.floating[Any]]:
    """Return the losses, or their sum divided as `reduction` says; `name` is that of the targets."""
    kind = _short_name(reduction)
    rows = logits.shape[:-1]
    same_rank = weights.ndim == len(rows)
    if weights.ndim and not (same_rank and all(n in (1, m) for n, m in zip(weights.shape, rows))):
        raise ValueError(
            "weights must be a scalar, or have 1 or the same length in each dimension of the "
            f"losses, of shape {rows}, got {weights.shape}"
        )
    exponent = 0 if kind in ("none", "sum") else _exponent(weights)
    scaled = weights
    if exponent:
        scaled = np.empty_like(weights)
        for at in pieces(weights.shape):
            np.ldexp(weights[at], -exponent, out=scaled[at])
            # No positive weight becomes 0, since rows of weight 0 are not read.
            np.maximum(scaled[at], np.minimum(weights[at], _SMALLEST), out=scaled[at])

    def renamed(text: str) -> str:
        text = re.sub(r"^targets\b", name, text)
        text = re.sub(r"^sample_weight\b", "weights", text)
        return text.removesuffix(" (ignore_index is None)")

    def reduced(reduction: Any, normalizer: float | None = None) -> Any:
        with reworded(renamed):
            return cross_entropy(
                logits,
                targets,
                label_smoothing=label_smoothing,
                sample_weight=scaled,
                ignore_index=None,
                reduction=reduction,
                normalizer=normalizer,
            )

    if kind in ("none", "sum") or (kind == "sum_by_nonzero_weights" and not exponent):
        losses: float | NDArray[np.floating[Any]] = reduced(kind)
        return losses
    total: float
    if kind == "mean":
        # Exact, since NumPy's order of summation depends on the memory layout.
        total = sum((exact_sum(scaled[at]) for at in pieces(scaled.shape)), ExactSum()).value()
    elif kind == "sum_by_nonzero_weights":
        total = sum(int(np.count_nonzero(weights[at])) for at in pieces(weights.shape))
    else:
        total = weights.size
    # Each weight counts for as many rows as it is broadcast to.
    divisor = float(total) * (math.prod(rows) // max(weights.size, 1))
    if not 0.0 < divisor < math.inf:
        reduced("sum")  # raises errors, first those of weights
        return 0.0
    loss = reduced("mean", divisor)
    return float(loss if kind == "mean" else np.ldexp(loss, exponent))


def _exponent(weights: NDArray[Any]) -> int:
    """Return e such that the weights divided by 2^e have finite sums; 0 if they already have."""
    if weights.dtype != np.float64 or weights.size == 0:
        return 0
    most = max(float(weights[at].max()) for at in pieces(weights.shape))
    if not 2.0**512 < most < math.inf:
        return 0
    is_refused = any((weights[at] < 0.0).any() for at in pieces(weights.shape))
    return 0 if is_refused else math.frexp(most)[1]  # errors show the unscaled weights


def _short_name(reduction: str) -> str:
    if isinstance(reduction, str) and (reduction in _REDUCTIONS or reduction in _SHORT):
        return reduction.removeprefix("weighted_")
    raise not_one_of(reduction, "reduction", _REDUCTIONS)
