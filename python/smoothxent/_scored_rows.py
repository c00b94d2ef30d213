"""The sums of `score` over the rows of one chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from smoothxent import _smoothxent as _native
from smoothxent._activations import log_softmax, softmax
from smoothxent._arrays import as_logits, as_mask, as_real, as_targets
from smoothxent._chosen import TopK, top_k_log_softmax
from smoothxent._exact import ExactSum, exact_sum, exact_sums, exact_sums_of_groups
from smoothxent._gradients import cross_entropy_value_and_grad
from smoothxent._loss_options import counted_rows, target_masses
from smoothxent._losses import cross_entropy, sum_arguments
from smoothxent._pieces import copied
from smoothxent._score import BINS, Score, Sums
from smoothxent._terms import cross_entropy_terms
from smoothxent._types import ArrayLike, NDArray


# No warnings: like the loss, sums are infinite if a weighted row overflows, and nan for infinite logits.
@np.errstate(all="ignore")
def score_rows(
    logits: NDArray[Any],
    targets: NDArray[Any],
    options: Mapping[str, Any],
    *,
    top_k: int | None,
    log_probs_out: NDArray[Any] | None = None,
    grad_out: NDArray[Any] | None = None,
) -> Score:
    """Return the score of a chunk of rows, and write the outputs of these rows."""
    logits, targets = as_logits(logits, "logits"), as_targets(targets, "targets")
    if targets.dtype.kind in "iu":
        targets = copied(targets)  # what is checked is what is used
    if options.get("label_smoothing") is None:
        options = {**options, "label_smoothing": 0.0}  # the terms use the prior, too
    of_softmax = {name: value for name, value in options.items() if name in _OF_SOFTMAX}
    of_terms = {name: value for name, value in options.items() if name in _OF_TERMS}
    if all(options.get(name) is not None for name in ("prior", "where", "sample_weight")):
        # The terms have no weights. Rows of weight 0 are left without classes, so that nothing is asked of their priors.
        is_weighed = np.asarray(as_real(options["sample_weight"], "sample_weight") != 0.0)
        of_terms["where"] = as_mask(options["where"], "where") & is_weighed[..., np.newaxis]
    terms = cross_entropy_terms(logits, targets, **of_terms)
    is_weighted = any(options.get(name) is not None for name in ("class_weight", "sample_weight"))
    if grad_out is not None:
        loss, _ = cross_entropy_value_and_grad(
            logits, targets, reduction="none", grad_out=grad_out, **options
        )
    elif (
        targets.size
        and not is_weighted
        and float(options["label_smoothing"]) == float(options.get("z_loss", 0.0)) == 0.0
    ):
        loss = terms.nll  # the same bits, since nothing is added or weighed
    else:
        loss = cross_entropy(logits, targets, reduction="none", **options)
    if is_weighted:
        loss = _in_range(loss, logits, targets, options)
    k = min(max(5, top_k or 1), logits.shape[-1])
    best = top_k_log_softmax(logits, k, **of_softmax)
    if log_probs_out is not None:
        log_softmax(logits, out=log_probs_out, **of_softmax)

    row_shape = logits.shape[:-1]
    is_counted = counted_rows(row_shape, targets, options)
    rows = int(is_counted.sum())

    def counted(array: NDArray[Any], *shape: int) -> NDArray[Any]:
        """Return the values of the rows that count, along a single axis of rows."""
        flat = array.reshape(-1, *shape)
        return flat if rows == len(flat) else flat[is_counted.ravel()]

    losses = counted(loss)
    labels = counted(targets if targets.ndim < logits.ndim else targets.argmax(axis=-1))
    confidences = _exp(counted(_largest_log_prob(logits, best, of_softmax)))
    can_hit = ~np.isnan(confidences)  # a row whose probabilities are nan predicts no class
    if (where := options.get("where")) is not None:
        # Axes of length 1 are indexed by 0: NumPy accepts one index array less than axes.
        places = [0 if n == 1 else at for n, at in zip(row_shape, is_counted.nonzero())]
        can_hit &= np.broadcast_to(where, logits.shape)[(*places, labels)]
    hits = (counted(best.indices, k) == labels[:, np.newaxis]) & can_hit[:, np.newaxis]
    weights = options.get("sample_weight")
    if weights is not None:
        weights = counted(np.broadcast_to(_float64(weights), row_shape))
    masses = counted(target_masses(row_shape, targets, options.get("class_weight")))

    def weighted(values: NDArray[Any]) -> NDArray[Any]:
        return values if weights is None else values * weights

    def weight_of_rows(hits: NDArray[np.bool_] | None) -> ExactSum:
        """Return the total weight of the rows with a hit; no row has two."""
        if weights is None:
            return ExactSum.of_count(rows if hits is None else int(np.count_nonzero(hits)))
        selected = weights if hits is None else weights * np.any(hits, axis=1)
        return exact_sum(selected)

    loss_sum, *term_sums = exact_sums(
        np.stack([losses, *(weighted(counted(term)) for term in terms)], dtype=np.float64)
    )
    sums = Sums(
        weight_of_rows(None),
        loss_sum,
        exact_sum(weighted(masses)),
        **dict(zip(terms._fields, term_sums)),
        top_1=weight_of_rows(hits[:, :1]),
        top_5=weight_of_rows(hits[:, :5]),
        top_k=ExactSum() if top_k is None else weight_of_rows(hits[:, :top_k]),
    )
    gaps = exact_sums_of_groups(weighted(hits[:, 0] - confidences), _bins(confidences), BINS)
    nonfinite = rows - int(np.isfinite(losses).sum())
    return Score(rows, is_counted.size - rows, nonfinite, top_k, sums, tuple(gaps))


_OF_SOFTMAX = {"temperature", "where"}
_OF_TERMS = _OF_SOFTMAX | {"prior", "ignore_index"}


def _in_range(
    losses: NDArray[Any], logits: NDArray[Any], targets: NDArray[Any], options: Mapping[str, Any]
) -> NDArray[Any]:
    """Return weighted losses, in float64 where they underflow or overflow in their own type."""
    is_normal = (losses >= np.finfo(losses.dtype).tiny) & (losses < np.inf)
    if losses.dtype == np.float64 or is_normal.all():
        return losses
    given = {"prior": None, "ignore_index": -100, **options}
    as_added = _native._row_losses(*sum_arguments(logits, targets, **given))
    return np.where(is_normal, losses, as_added)


def _largest_log_prob(
    logits: NDArray[Any], best: TopK, of_softmax: dict[str, Any]
) -> NDArray[np.float64]:
    if logits.dtype.itemsize > 2:
        return _float64(best.log_probs[..., 0])
    # Rounded to 16 bits it would have two or three digits; losses are in float32.
    labels = best.indices[..., 0]
    return -_float64(
        cross_entropy(logits, labels, ignore_index=None, reduction="none", **of_softmax)
    )


def _exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp of numbers <= 0, with the same bits on every processor, unlike `numpy.exp`."""
    of_pairs = softmax(np.stack([values, np.zeros_like(values)], axis=-1), dtype=np.float64)
    return of_pairs[:, 0] / of_pairs[:, 1]  # e^x / (e^x + 1) by 1 / (e^x + 1)


def _bins(confidences: NDArray[np.float64]) -> NDArray[np.intp]:
    # fmax puts nan into the first bin, which makes the error nan. Infinity must not be cast to an integer: for the
    # largest ones, numpy.bincount writes out of bounds.
    bins = np.ceil(np.minimum(np.fmax(confidences * BINS, 1.0), BINS))
    return bins.astype(np.intp) - 1


def _float64(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values).astype(np.float64, order="C")
