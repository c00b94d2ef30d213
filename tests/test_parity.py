"""What other frameworks answer, beside what we do: the recorded vectors of parity/, read from files.

Each case is judged three ways:

1. The framework's float64 answer is what the formulas give in extended precision: the options of
   the case mean here what they mean there.
2. Ours in float64 is the framework's to 12 digits; ours in float32 is within the promised ulp of it.
3. The framework's own float32 answer is as far from exact as FRAMEWORK_ULP records.

`python test_parity.py` prints how far everybody is from exact. Where frameworks differ from us or
from each other is in test_parity_differences.py.
"""

import functools

import numpy as np

import smoothxent as sx
from parity.archive import as_type, read

# What smoothxent can do. Cases with anything else wait in the files.
OPTIONS = {"label_smoothing", "prior", "ignore_index", "axis", "reduction"}
REDUCTIONS = {"none", "sum", "mean"}
DTYPES = {"float64", "float32"}

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "sklearn")
RELATIVE = 1e-12  # float64, at the sizes that judge_at gives


def supported(case):
    return set(case["options"]) <= OPTIONS and case["options"].get("reduction", "sum") in REDUCTIONS


@functools.cache
def recorded(framework):
    return read(framework)[1]


def grid(framework):
    return [case for case in recorded(framework) if "name" not in case]


def ours(case, dtype):
    """The answer of smoothxent, with the keys of the framework's."""
    arrays = [as_type(case[name], dtype) for name in ("logits", "targets") if name in case]
    options = {name: as_type(value, dtype) for name, value in case["options"].items()}
    if case["op"] == "cross_entropy":
        answer = sx.cross_entropy_value_and_grad(*arrays, **options)
        return {"loss": np.asarray(answer[0], dtype), "grad": answer[1]}
    answer = getattr(sx, case["op"])(*arrays, **options)
    return answer._asdict() if case["op"] == "cross_entropy_terms" else {"value": answer}
