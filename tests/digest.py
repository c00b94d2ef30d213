"""One SHA-256 over the bits of all results, to compare threads, processes and instruction sets.

`python digest.py` prints it as JSON, with the configuration.
"""

import hashlib
import itertools
import json
import sys
from functools import partial

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


def calls(logits, labels, prior):
    """Every function on one problem, to be called without arguments."""
    yield partial(sx.softmax, logits)
    yield partial(sx.log_softmax, logits)
    yield partial(sx.logsumexp, logits)
    yield partial(sx.top_k_log_softmax, logits, min(5, logits.shape[-1]))
    yield partial(sx.log_softmax_at, logits, np.arange(len(logits))[:, None] % logits.shape[-1])
    for label_smoothing, has_prior in LOSS_OPTIONS:
        options = {"label_smoothing": label_smoothing, "prior": prior if has_prior else None}
        for reduction in ("none", "mean"):
            options["reduction"] = reduction
            yield partial(sx.cross_entropy_value_and_grad, logits, labels, **options)
        options["reduction"] = "sum"
        yield partial(sx.cross_entropy, logits, labels, **options)
    yield partial(sx.cross_entropy_terms, logits, labels, prior=prior)
    if labels.ndim == 1 and 2 <= logits.shape[-1] <= 16384:
        yield partial(xgboost_objective(label_smoothing=0.1), labels, logits)


def option_calls(logits, labels, prior):
    """Calls with weights, a mask, a temperature and z_loss; float32 logits also as float16."""
    rng = np.random.default_rng(13)
    where = rng.random(logits.shape) < 0.8
    heat = {"where": where, "temperature": 1.7}
    weights = {
        "class_weight": rng.exponential(size=logits.shape[-1]),
        "sample_weight": rng.exponential(size=logits.shape[0]),
        "z_loss": 1e-3,
    }
    stored = [logits]
    if logits.dtype == np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            stored.append(logits.astype(np.float16))
    for z in stored:
        yield partial(sx.softmax, z, **heat)
        yield partial(sx.log_softmax, z, **heat)
        yield partial(sx.logsumexp, z, **heat)
        yield partial(sx.top_k_log_softmax, z, min(logits.shape[-1] // 2, 1000), **heat)
        for label_smoothing in (0.0, 0.1):
            options = {"label_smoothing": label_smoothing, "prior": prior, "reduction": "none"}
            yield partial(sx.cross_entropy_value_and_grad, z, labels, **options, **weights)
            yield partial(masked_loss_and_grad, z, labels, **options, **heat, **weights)


def masked_loss_and_grad(*args, **options):
    try:
        return sx.cross_entropy_value_and_grad(*args, **options)
    except ValueError:  # the mask leaves no mass of the prior
        return np.zeros(0)


def arrays(call):
    """The results of a call."""
    result = call()
    return list(map(np.asarray, result if isinstance(result, tuple) else (result,)))


def results(logits, labels, prior):
    """Every result on one problem, as arrays."""
    for call in calls(logits, labels, prior):
        yield from arrays(call)


def digest(problems):
    """The digest of the results on all the problems."""
    state = hashlib.sha256()
    for item in problems:
        for call in itertools.chain(calls(*item), option_calls(*item)):
            for result in arrays(call):
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
    """4.2M logits: enough for 32 threads."""
    return problem(classes, dtype, rows=rows, seed=2)


if __name__ == "__main__":
    config = sx.show_config(mode="dicts")
    json.dump({"digest": digest(small_problems()), "config": config}, sys.stdout)
