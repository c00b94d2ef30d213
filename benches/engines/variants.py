"""smoothxent with other dtypes, layouts, priors and threads; not a column of the tables."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np

import smoothxent as sx
from benches import problem as reference
from benches.problem import Call, Means, Problem, make_prior

PACKAGES = ("smoothxent", "numpy", "ml_dtypes")
DTYPES = {"float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
PROBLEMS: dict[str, Problem] = {}
start = sx.set_num_threads


def plain(problem: Problem, **options: Any) -> dict[str, Call]:
    """Return the operations; they reuse the memory of their results."""
    z, y, prior = problem.logits, problem.labels, problem.prior
    out = np.zeros_like(z)
    smooth: dict[str, Any] = {"label_smoothing": problem.epsilon, "prior": prior}
    both = sx.cross_entropy_value_and_grad
    return {
        "loss_grad": lambda: both(z, y, grad_out=out, **smooth, **options),
        "loss": lambda: sx.cross_entropy(z, y, **smooth, **options),
        "softmax": lambda: sx.softmax(z, out=out, **options),
    }


def one_thread(call: Call) -> Call:
    """Return the call, on one thread."""

    def alone() -> Any:
        with sx.num_threads(1):
            return call()

    return alone


def transposed(call: Call) -> Call:
    """Return the call, with the array of its answer transposed."""

    def other() -> Any:
        answer = call()
        return (answer[0], answer[1].T) if isinstance(answer, tuple) else np.transpose(answer)

    return other


def problems(problem: Problem) -> dict[str, Problem]:
    """Return the problem in every variant that changes it."""
    prior = make_prior(problem.shape[1]).astype(np.float32)
    result = {
        "": problem,
        "eps=0": dataclasses.replace(problem, epsilon=0.0),
        "prior": dataclasses.replace(problem, prior=prior),
    }
    arrays = {name: problem.logits.astype(dtype) for name, dtype in DTYPES.items()}
    arrays["Fortran order"] = np.asfortranarray(problem.logits)
    for name, logits in arrays.items():
        result[name] = dataclasses.replace(problem, logits=logits)
    return result


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time, by "operation" or "operation variant"."""
    PROBLEMS.clear()
    PROBLEMS.update(problems(problem))
    result = {}
    for variant, each in PROBLEMS.items():
        for operation, call in plain(each).items():
            result[f"{operation} {variant}".strip()] = call
            if not variant:
                result[f"{operation} 1 thread"] = one_thread(call)
    own = problem.logits.copy()
    result["softmax in place"] = lambda: sx.softmax(own, out=own)
    columns = dataclasses.replace(problem, logits=PROBLEMS["Fortran order"].logits.T)
    for operation, call in plain(columns, axis=0).items():
        result[f"{operation} axis=0"] = transposed(call)
    return result


def error(name: str, answer: Any, problem: Problem, means: Means) -> float:
    """Return the worst error in ulp of the variant's own dtype."""
    _, _, variant = name.partition(" ")
    return reference.error(name, answer, PROBLEMS.get(variant, problem), means)
