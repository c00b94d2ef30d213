"""examples/scoring_server.py with SciPy in place of smoothxent, for benches/serve.py."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import scipy.special

import scoring_server
from benches.problem import Array
from scoring_server import app  # noqa: F401 - the server imports it by name


def log_softmax(logits: Array) -> Array:
    return scipy.special.log_softmax(logits, axis=-1)


def top_k_log_softmax(logits: Array, k: int) -> SimpleNamespace:
    log_probs = log_softmax(logits)
    indices = np.argsort(-logits, axis=-1, kind="stable")[..., :k]
    return SimpleNamespace(
        indices=indices, log_probs=np.take_along_axis(log_probs, indices, axis=-1)
    )


def cross_entropy(logits: Array, labels: Array, label_smoothing: float, reduction: str) -> Array:
    log_probs = log_softmax(logits)
    at_label = np.take_along_axis(log_probs, labels[..., None], axis=-1)[..., 0]
    eps = np.float32(label_smoothing)
    return -((1 - eps) * at_label + eps * log_probs.mean(axis=-1))


scoring_server.sx = SimpleNamespace(
    log_softmax=log_softmax,
    top_k_log_softmax=top_k_log_softmax,
    cross_entropy=cross_entropy,
    set_num_threads=lambda threads: None,  # SciPy has one thread
)
