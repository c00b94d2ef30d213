"""The smoothed loss as an objective of LightGBM and XGBoost::

    gradient_k = s [Q p(k) - c_k q'(k)]          Q = sum_k c_k q'(k)
    Hessian_k  = f s Q p(k) (1 - p(k))           the diagonal; f is the library's own factor

Neither library is imported: they call the objective with all the arrays that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, SupportsFloat

import numpy as np

from smoothxent import _checks
from smoothxent import _smoothxent as _native
from smoothxent._arrays import as_ndarray, as_numpy_real
from smoothxent._errors import LabelError
from smoothxent._losses import sum_arguments
from smoothxent._pieces import allocated, first, pieces
from smoothxent._types import ArrayLike, NDArray

__all__ = ["lightgbm_objective", "xgboost_objective"]

_MOST_CLASSES = _native._SEGMENT  # no booster grows so many trees at once
_LEAST_HESSIAN_OF_XGBOOST = np.float32(1e-16)  # as in XGBoost


def lightgbm_objective(
    *,
    label_smoothing: SupportsFloat | None = None,
    prior: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
) -> _Objective:
    r"""Return the cross-entropy loss with label smoothing as an objective of LightGBM.

    Use it in place of "multiclass" or "binary", whose gradient and Hessian it equals without
    smoothing: as ``params["objective"]`` of ``lightgbm.train`` and ``lightgbm.cv``, or as
    ``objective`` of ``LGBMClassifier``. `xgboost_objective` is the same for XGBoost.

    For one row with scores z, p = softmax(z) and sample weight s, and with the smoothed target q',
    the prior u and the class weights c as in `smoothxent.cross_entropy`,

    .. math::
       g_k = s\, [Q\, p(k) - c_k\, q'(k)],

       h_k = \frac{K}{K - 1}\, s\, Q\, p(k)\, (1 - p(k)),

       Q = \sum_{k=1}^K c_k\, q'(k).

    The factor K / (K - 1) is LightGBM's. With one score for each row there are two classes, z is
    the logit of class 1, and h = s Q p (1 - p), as for "binary".

    Parameters
    ----------
    label_smoothing : float, optional
        eps, in [0, 1]; no smoothing by default.
    prior : array_like, optional
        u, of shape (K,): the distribution that labels are smoothed towards. Finite and
        non-negative, summing to 1. Uniform by default. It is an error to give it without
        `label_smoothing`.
    class_weight : array_like, optional
        c, of shape (K,), finite and non-negative: a weight for each class of the smoothed labels.
        Ones by default.

    Returns
    -------
    objective : callable
        ``objective(scores, dataset)`` and ``objective(labels, scores, sample_weight=None)`` return
        the gradient and the diagonal of the Hessian, both of the shape and type of the scores
        (float32 for bfloat16, float64 for integers), in C order if the scores are C-contiguous,
        else in Fortran order. It can be pickled.

    Raises
    ------
    LabelError
        When the objective is called, if a label is not a whole number in [0, K). Labels may be
        integers, bools or floats of up to 64 bits.
    TypeError
        If an option has an unsupported type, or if a prior is given without `label_smoothing`.
    ValueError
        If the shape or value of an option is not as described. When the objective is called, also
        if a sample weight is negative or not finite, or if there are more than 16384 classes.

    See Also
    --------
    xgboost_objective : The same for XGBoost.
    smoothxent.cross_entropy_value_and_grad : The loss and its gradient, for any arrays.
    smoothxent.softmax : Converts scores to probabilities.

    Notes
    -----
    K is the number of columns of the scores: `num_class` of LightGBM.

    With a custom objective, LightGBM starts from the score 0, not from the logarithms of the class
    frequencies. It predicts scores, not probabilities: use the softmax of the scores, or with one
    score for each row ``1 / (1 + exp(-score))``.

    The gradient has the same bits as that of `smoothxent.cross_entropy_value_and_grad` with
    reduction "sum". The error of the Hessian is at most 8 ulp, also for confident rows, because
    1 - p(k) is computed as the sum of the other probabilities.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothxent.objectives import lightgbm_objective
    >>> objective = lightgbm_objective(label_smoothing=0.1)
    >>> labels, scores = np.array([0, 1], np.float32), np.zeros((2, 2), order="F")
    >>> gradient, hessian = objective(labels, scores)
    >>> gradient
    array([[-0.45,  0.45],
           [ 0.45, -0.45]])
    >>> hessian
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    return _Objective("lightgbm", *_options(label_smoothing, prior, class_weight))


def xgboost_objective(
    *,
    label_smoothing: SupportsFloat | None = None,
    prior: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
) -> _Objective:
    r"""Return the cross-entropy loss with label smoothing as an objective of XGBoost.

    Use it in place of "multi:softprob" or "binary:logistic", whose gradient and Hessian it equals
    without smoothing: as ``obj`` of ``xgboost.train`` and ``xgboost.cv``, or as ``objective`` of
    ``XGBClassifier``. `lightgbm_objective` is the same for LightGBM.

    For one row with scores z, p = softmax(z) and sample weight s, and with the smoothed target q',
    the prior u and the class weights c as in `smoothxent.cross_entropy`,

    .. math::
       g_k = s\, [Q\, p(k) - c_k\, q'(k)],

       h_k = \max\{2 s\, Q\, p(k)\, (1 - p(k)),\, h_0\},

       Q = \sum_{k=1}^K c_k\, q'(k).

    The factor 2 and the lower bound of the Hessian, h_0 = 1e-16 in float32, are XGBoost's. With one
    score for each row there are two classes, z is the logit of class 1, and the factor is 1, as for
    "binary:logistic", which applies the bound to p(k) (1 - p(k)), before the weights.

    Parameters
    ----------
    label_smoothing : float, optional
        eps, in [0, 1]; no smoothing by default.
    prior : array_like, optional
        u, of shape (K,): the distribution that labels are smoothed towards. Finite and
        non-negative, summing to 1. Uniform by default. It is an error to give it without
        `label_smoothing`.
    class_weight : array_like, optional
        c, of shape (K,), finite and non-negative: a weight for each class of the smoothed labels.
        Ones by default.

    Returns
    -------
    objective : callable
        ``objective(scores, dmatrix)`` and ``objective(labels, scores, sample_weight=None)`` return
        the gradient and the diagonal of the Hessian, both of the shape and type of the scores
        (float32 for bfloat16, float64 for integers), in C order if the scores are C-contiguous,
        else in Fortran order. It can be pickled.

    Raises
    ------
    LabelError
        When the objective is called, if a label is not a whole number in [0, K). Labels may be
        integers, bools or floats of up to 64 bits.
    TypeError
        If an option has an unsupported type, or if a prior is given without `label_smoothing`.
    ValueError
        If the shape or value of an option is not as described. When the objective is called, also
        if a sample weight is negative or not finite, or if there are more than 16384 classes.

    See Also
    --------
    lightgbm_objective : The same for LightGBM.
    smoothxent.cross_entropy_value_and_grad : The loss and its gradient, for any arrays.
    smoothxent.softmax : Converts scores to probabilities.

    Notes
    -----
    K is the number of columns of the scores: `num_class` of XGBoost. XGBoost 2.1 and later pass the
    scores of several classes with two axes, as the objective expects.

    With a custom objective, XGBoost starts from the same score for each class, not from the
    logarithms of the class frequencies. ``XGBClassifier.predict_proba`` still returns
    probabilities. ``Booster.predict`` returns scores with ``output_margin=True``; their softmax, or
    with one score for each row ``1 / (1 + exp(-score))``, gives probabilities.

    The gradient has the same bits as that of `smoothxent.cross_entropy_value_and_grad` with
    reduction "sum". The error of the Hessian is at most 8 ulp, also for confident rows, because
    1 - p(k) is computed as the sum of the other probabilities.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception
       Architecture for Computer Vision", section 7, arXiv:1512.00567, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothxent.objectives import xgboost_objective
    >>> objective = xgboost_objective(label_smoothing=0.1, prior=[0.75, 0.25])
    >>> labels, scores = np.array([0, 1], np.float32), np.zeros((2, 2), np.float32)
    >>> gradient, hessian = objective(labels, scores)
    >>> gradient
    array([[-0.475,  0.475],
           [ 0.425, -0.425]], dtype=float32)
    >>> hessian
    array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32)
    """
    return _Objective("xgboost", *_options(label_smoothing, prior, class_weight))


def _options(
    label_smoothing: SupportsFloat | None, prior: ArrayLike | None, class_weight: ArrayLike | None
) -> tuple[float, NDArray[Any] | None, NDArray[Any] | None]:
    """Return the options, checked as far as possible without the number of classes."""
    smoothing = _checks.label_smoothing(label_smoothing, prior)
    u = None if prior is None else _one_per_class(prior, "prior")
    if u is not None:
        _checks.prior_values(u, 0)
    if class_weight is None:
        return smoothing, u, None
    weight = _one_per_class(class_weight, "class_weight")
    _checks.non_negative(weight, 0, "class_weight", "weights")
    return smoothing, u, weight


def _one_per_class(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return a copy of one number for each class."""
    given = np.array(as_numpy_real(values, name))
    if given.ndim != 1:
        raise ValueError(f"{name} must have one axis, that of the classes, got shape {given.shape}")
    return given


@dataclass(frozen=True, eq=False)
class _Objective:
    """Gradient and Hessian in the conventions of a library."""

    library: str
    label_smoothing: float
    prior: NDArray[Any] | None
    class_weight: NDArray[Any] | None

    @np.errstate(all="ignore")  # what overflows or underflows shows in the results
    def __call__(
        self, first: Any, second: Any, sample_weight: ArrayLike | None = None
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Take (scores, data set) of the native interfaces, or (labels, scores, weights) of scikit-learn's."""
        if hasattr(second, "get_label"):
            scores, labels, sample_weight = first, second.get_label(), second.get_weight()
        else:
            labels, scores = first, second
        if sample_weight is not None and as_numpy_real(sample_weight, "sample_weight").size == 0:
            sample_weight = None  # XGBoost passes an empty array if there are no weights
        z = as_numpy_real(scores, "scores")
        if z.ndim == 1:
            both = np.zeros((2, len(z)), z.dtype)
            both[1] = z
            gradient, hessian = self._of_classes(both, labels, sample_weight, 0, 1.0)
            return gradient[1], hessian[1]
        if z.ndim != 2 or z.shape[1] < 2:
            raise ValueError(
                f"scores must have shape (N,) or (N, K) with at least 2 classes, got {z.shape}"
            )
        classes = z.shape[1]
        factor = 2.0 if self.library == "xgboost" else classes / (classes - 1)
        if z.flags.c_contiguous:
            return self._of_classes(z, labels, sample_weight, 1, factor)
        gradient, hessian = self._of_classes(z.T, labels, sample_weight, 0, factor)
        return gradient.T, hessian.T

    def _of_classes(
        self,
        scores: NDArray[Any],
        labels: ArrayLike,
        sample_weight: ArrayLike | None,
        axis: int,
        factor: float,
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Return gradient and Hessian, as the library expects them, for scores whose classes are along `axis`."""
        classes = scores.shape[axis]
        if classes > _MOST_CLASSES:
            raise ValueError(f"scores has {classes} classes, expected at most {_MOST_CLASSES}")
        for name, values in (("prior", self.prior), ("class_weight", self.class_weight)):
            if values is not None and len(values) != classes:
                raise ValueError(f"{name} must have shape ({classes},), got {values.shape}")
        loss = sum_arguments(
            scores,
            _whole(labels, scores.shape[1 - axis], classes),
            self.label_smoothing,
            self.prior,
            class_weight=self.class_weight,
            sample_weight=sample_weight,
            axis=axis,
        )
        gradient, hessian = _native._grad_and_hess(*(*loss, factor))
        if self.library == "xgboost":
            for at in pieces(hessian.shape):
                np.maximum(hessian[at], _LEAST_HESSIAN_OF_XGBOOST, out=hessian[at])
        return gradient, hessian


def _whole(labels: ArrayLike, rows: int, classes: int) -> NDArray[np.int64]:
    """Return labels as integers; both libraries keep them as float32."""
    given = as_ndarray(labels, "labels", fill=None)
    numbers = as_numpy_real(given, "labels")
    if numbers.shape != (rows,):
        raise ValueError(f"labels must have shape ({rows},), got {numbers.shape}")
    whole: NDArray[np.int64] = allocated(np.empty, rows, np.int64)
    for at in pieces(whole.shape):
        with np.errstate(invalid="ignore"):  # nan has no integer value
            whole[at] = numbers[at].astype(np.int64)
    place = first(
        whole.shape,
        lambda at: ~((whole[at] == numbers[at]) & _checks.is_class(whole[at], classes)),
    )
    if place is not None:
        label = given[place]  # not from `numbers`, where integers may be rounded
        raise LabelError(
            f"labels[{place[0]}] is {label}, expected a whole number from 0 to {classes - 1}",
            place,
            int(label) if float(label).is_integer() else None,
        )
    return whole
