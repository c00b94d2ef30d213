"""How far predicted probabilities are from the share of predictions that are correct."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import smoothxent as sx

ECE_BINS = 15

Bins: TypeAlias = NDArray[np.float64]  # (3, ECE_BINS): see `confidence_bins`; of parts they add up


def confidence_bins(logits: NDArray[Any], labels: NDArray[Any]) -> Bins:
    """Per equal-width bin of top probability: rows, sum of top probability, correct rows."""
    confidence = sx.softmax(logits).max(axis=-1).ravel()
    correct = (logits.argmax(axis=-1) == labels).ravel()
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    return np.stack(
        [np.bincount(bins, w, ECE_BINS) for w in (np.ones_like(confidence), confidence, correct)]
    )


def expected_calibration_error(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean over rows of |accuracy - confidence| in the row's bin (Guo et al., arXiv 1706.04599)."""
    _, confidences, hits = confidence_bins(logits, labels)
    return float(np.abs(hits - confidences).sum() / labels.size)
