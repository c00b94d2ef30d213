"""One SHA-256 over the bits of all results, to compare threads, processes and instruction sets.

`python digest.py` prints it as JSON, with the configuration.
"""

import hashlib
import json
import sys

import numpy as np

import smoothxent as sx
from problems import CLASS_COUNTS, FLOATS, ROW_KINDS, one_hot, problem
from smoothxent.objectives import xgboost_objective

LOSS_OPTIONS = (  # (label_smoothing, whether the prior is given)
    (0.0, False),
    (0.1, False),
    (0.1, True),
    (1.0, True),
)

MANY_SORTED = 70_000  # of a long row, more than are sorted in one piece


def results(logits, labels, prior):
    """Every result on one problem, as arrays."""
    yield sx.softmax(logits)
    yield sx.log_softmax(logits)
    yield sx.logsumexp(logits)
    yield from sx.top_k_log_softmax(logits, min(5, logits.shape[-1]))
    yield sx.log_softmax_at(logits, np.arange(len(logits))[:, None] % logits.shape[-1])
    for label_smoothing, has_prior in LOSS_OPTIONS:
        options = {"label_smoothing": label_smoothing, "prior": prior if has_prior else None}
        yield from sx.cross_entropy_value_and_grad(logits, labels, reduction="none", **options)
        yield from map(np.asarray, sx.cross_entropy_value_and_grad(logits, labels, **options))
        yield np.asarray(sx.cross_entropy(logits, labels, reduction="sum", **options))
    yield from sx.cross_entropy_terms(logits, labels, prior=prior)
    if labels.ndim == 1 and 2 <= logits.shape[-1] <= 16384:
        yield from xgboost_objective(label_smoothing=0.1)(labels, logits)


def option_results(logits, labels, prior):
    """Results with weights, a mask, a temperature and z_loss, and of logits in float16."""
    rng = np.random.default_rng(13)
    where = rng.random(logits.shape) < 0.8
    heat = {"where": where, "temperature": 1.7}
    weights = {
        "class_weight": rng.exponential(size=logits.shape[-1]),
        "sample_weight": rng.exponential(size=logits.shape[0]),
        "z_loss": 1e-3,
    }
    with np.errstate(over="ignore", invalid="ignore"):
        half = logits.astype(np.float16)
    for z in (logits, half):
        yield sx.softmax(z, **heat)
        yield sx.log_softmax(z, **heat)
        yield sx.logsumexp(z, **heat)
        yield from sx.top_k_log_softmax(z, min(logits.shape[-1] // 2, MANY_SORTED), **heat)
        for label_smoothing in (0.0, 0.1):
            options = {"label_smoothing": label_smoothing, "prior": prior, "reduction": "none"}
            yield from sx.cross_entropy_value_and_grad(z, labels, **options, **weights)
            try:
                yield from sx.cross_entropy_value_and_grad(z, labels, **options, **heat, **weights)
            except ValueError:  # a mask that leaves nothing of a prior
                yield np.zeros(0)


def digest(problems):
    """The digest of the results on all the problems."""
    state = hashlib.sha256()
    for item in problems:
        for result in (*results(*item), *option_results(*item)):
            state.update(np.ascontiguousarray(result).data)
    return state.hexdigest()


def small_problems():
    """Every length of row, the five kinds of rows, two layouts, and rows with special values."""
    for dtype in FLOATS:
        for classes in CLASS_COUNTS:
            item = problem(classes, dtype, rows=19 if classes < 300 else 2)
            yield item
            if classes < 300:
                yield item.logits.copy(order="F"), one_hot(item.labels, classes, dtype), item.prior
                yield special_rows(item.logits), item.labels, item.prior
        for rows in ROW_KINDS.values():
            logits, labels = rows(np.random.default_rng(11), rows=3)
            yield logits.astype(dtype), labels, problem(logits.shape[1]).prior


def special_rows(logits):
    """The rows with -inf, a denormal, the largest number and nan in some places."""
    rng = np.random.default_rng(12)
    info = np.finfo(logits.dtype)
    values = [-np.inf, info.smallest_subnormal, -info.max, info.max, 1e30, -0.0, np.nan]
    return np.where(
        rng.random(logits.shape) < 0.1, rng.choice(values, logits.shape), logits
    ).astype(logits.dtype)


def large_problem(dtype=np.float32, rows=4200, classes=1000):
    """4.2M logits: enough for 32 threads; in float64 they come from memory."""
    return problem(classes, dtype, rows=rows, seed=2)


if __name__ == "__main__":
    config = sx.show_config(mode="dicts")
    json.dump({"digest": digest(small_problems()), "config": config}, sys.stdout)
