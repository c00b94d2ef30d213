"""Results of other frameworks beside ours: the recorded vectors of parity/, read from files.

Each answer is compared with the formulas in extended precision, so that one table of bounds is enough
for all, and ours with that of the framework:

1. The framework's float64 answer is exact to 12 digits: the options of a case mean what we think
   they mean, also those that smoothxent does not have yet.
2. Our float64 answer agrees with it to 12 digits; our float32 answer is within the promised ulp of it.
3. The error of the framework's float32 answer is the one in FRAMEWORK_ULP.

`python test_parity.py` prints the errors of all. Cases in which frameworks differ from us, or from
each other, are in test_parity_differences.py.
"""

import collections
import functools
import inspect
import math

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from parity.archive import as_type, read
from reference import Real
from ulp import ulp_error

# What smoothxent supports. For other cases only the framework is compared with the formulas.
OPTIONS = {
    "label_smoothing", "prior", "class_weight", "sample_weight", "ignore_index", "where", "temperature", "z_loss",
    "axis", "reduction", "normalizer",
}  # fmt: skip
REDUCTIONS = {"none", "sum", "mean", "sum_by_nonzero_weights"}
DTYPES = {"float64", "float32"}

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "sklearn")
RELATIVE = 1e-12  # for float64 answers, at the sizes of `exact`
# tf.losses casts the losses of rows, their sum and the weights to float32, even for float64 logits,
# and in the gradient also the divisor of a mean.
TF_LOSSES = "tf.losses"
TF_LOSSES_RELATIVE = 2e-7

# The promised bounds, by the name of an answer. The terms of a loss are losses; the bound of the prior's
# KL is at the size of its cross-entropy.
BOUNDS = collections.defaultdict(
    lambda: ulp.LOSS,
    grad=ulp.GRADIENT,
    softmax=ulp.SOFTMAX,
    log_softmax=ulp.LOG_SOFTMAX,
    logsumexp=ulp.LOGSUMEXP,
)

# The largest errors of float32 answers in the files, in ulp rounded up, at the sizes of our promise.
FRAMEWORK_ULP = {
    "torch": {"loss": 51, "grad": 45, "softmax": 16, "log_softmax": 574, "logsumexp": 2},
    "tensorflow": {"loss": 11, "grad": 14, "softmax": 18, "log_softmax": 449, "logsumexp": 2},
    "keras": {"loss": 11, "grad": 14},
    "jax": {
        "loss": 61, "grad": 19, "softmax": 15, "log_softmax": 588, "logsumexp": 2,
        "nll": 16, "prior_cross_entropy": 2, "prior_kl": 1,
    },
    "sklearn": {"loss": 3, "grad": 2, "softmax": 16, "log_softmax": 448, "logsumexp": 2},
}  # fmt: skip


def supported(case):
    options = case["options"]
    return (
        set(options) <= OPTIONS
        and options.get("reduction", "none") in REDUCTIONS
        and (case["logits"].dtype.name in DTYPES)
    )


@functools.cache
def recorded(framework):
    return read(framework)[1]


def ours(case, dtype):
    """smoothxent's answer, in parts with the names of the framework's parts."""
    arrays = [as_type(case[name], dtype) for name in ("logits", "targets") if name in case]
    options = {name: as_type(value, dtype) for name, value in case["options"].items()}
    if case["op"] == "cross_entropy":
        loss, grad = sx.cross_entropy_value_and_grad(*arrays, **options)
        return {"loss": np.asarray(loss, dtype), "grad": grad}
    answer = getattr(sx, case["op"])(*arrays, **options)
    return answer._asdict() if case["op"] == "cross_entropy_terms" else {case["op"]: answer}


def theirs(case, dtype):
    """The recorded answer, in parts; for an operation with one result, that result."""
    return {name if name != "value" else case["op"]: part for name, part in case[dtype].items()}


def exact(case):
    """Each part of the answer, and the size at which its error is measured, in extended precision."""
    options = case["options"]
    axis = options.get("axis", -1)
    z = np.moveaxis(case["logits"].astype(Real), axis, -1) / Real(options.get("temperature", 1))
    where = np.broadcast_to(options.get("where", True), z.shape)
    z = np.where(where, z, -np.inf)
    top = z.max(-1)
    log_p, p = reference.log_softmax(z), reference.softmax(z)
    lse = np.where(np.isinf(top), top, reference.logsumexp(z))
    parts = {
        "softmax": (np.moveaxis(p, -1, axis), None),
        "log_softmax": (np.moveaxis(log_p, -1, axis), None),
        "logsumexp": (lse, np.maximum(np.abs(top), reference.shifted(z).log_total[..., 0])),
    }
    if case["op"] == "cross_entropy":
        parts |= exact_loss(case, z, where, axis)
    elif case["op"] == "cross_entropy_terms":
        u = options["prior"].astype(Real)
        prior_cross_entropy = -(u * log_p).sum(-1)
        kl = (u * (np.log(u) - log_p)).sum(-1)
        parts |= {
            "nll": (reference.cross_entropy(z, case["targets"]), None),
            "prior_cross_entropy": (prior_cross_entropy, None),
            "prior_kl": (kl, prior_cross_entropy),
        }
    return parts


@functools.cache
def exact_parts(framework, place):
    """The parts of a recorded case, for all tests that need them."""
    return exact(recorded(framework)[place])


def exact_answer(case):
    """The parts that the operation returns."""
    names = ("loss", "grad") if case["op"] == "cross_entropy" else (case["op"],)
    parts = exact(case)
    return {name: parts[name][0] for name in names}


def exact_loss(case, z, where, axis):
    """Loss and gradient with c_k, s_i and the rest of the options; the sizes of both.

    row     = s (-sum_k c_k q'_k log p_k + z_loss lse^2)
    slope_k = s (p_k sum_j c_j q'_j - c_k q'_k + 2 z_loss lse p_k) / temperature
    """
    options, classes = case["options"], z.shape[-1]
    targets = case["targets"]
    if targets.ndim == z.ndim:
        targets = np.moveaxis(targets, axis, -1)
    there = where.any(-1, keepdims=True)  # is any class kept?
    prior = options.get("prior", np.full(classes, 1 / Real(classes)))
    if "where" in options:
        prior = prior * where / np.where(there, (prior * where).sum(-1, keepdims=True), 1)
    ignore_index = options.get("ignore_index", -100)
    class_weight = np.asarray(options.get("class_weight", 1), Real)
    sample_weight = np.broadcast_to(np.asarray(options.get("sample_weight", 1), Real), z.shape[:-1])

    def weighted(label_smoothing):
        q = reference.smoothed(targets, classes, label_smoothing, prior, ignore_index)
        return np.where(there, q * class_weight, 0)

    q = weighted(options["label_smoothing"])
    row, mass = reference.shifted(z), q.sum(-1, keepdims=True)
    total = row.weight.sum(-1, keepdims=True)
    p = row.weight / total
    with np.errstate(invalid="ignore"):
        loss = -np.where(q == 0, 0, q * reference.log_softmax(z)).sum(-1)
        slope = p * (mass - q) - q * (row.others / total)
    slope = np.where((mass == 0) | ~where, 0, slope)
    scale = np.maximum(p * mass, q)
    if "z_loss" in options:
        lse = reference.logsumexp(z)
        loss = loss + options["z_loss"] * lse**2
        pull = 2 * options["z_loss"] * lse[..., None] * p
        slope, scale = slope + pull, scale + np.abs(pull)
    weight = sample_weight[..., None] / Real(options.get("temperature", 1))

    divisor = Real(1)
    if options["reduction"] == "mean":
        divisor = options.get("normalizer", (sample_weight * weighted(0).sum(-1)).sum())
    elif options["reduction"] == "sum_by_nonzero_weights":
        divisor = (sample_weight != 0).sum()
    loss = sample_weight * loss
    if options["reduction"] != "none":
        with np.errstate(invalid="ignore"):
            loss = loss.sum() / divisor
    grad, scale = (
        np.moveaxis(part * weight / (divisor if divisor else 1), -1, axis)
        for part in (slope, scale)
    )
    return {"loss": (loss, None), "grad": (grad, scale)}


def relative_error(got, want, at=None):
    """The largest |got - want| relative to `at` or `want`; equal values, also infinities, have no error."""
    got, want = np.asarray(got, Real), np.asarray(want, Real)
    apart = got != want
    size = np.where(apart, np.abs(want if at is None else at), 1)
    gap = np.subtract(got, want, where=apart, out=np.zeros_like(want))
    return (np.abs(gap) / size).max(initial=0)


def grid(framework, chosen=lambda case: True):
    """(case, place) of the chosen cases, without those that have a name."""
    for place, case in enumerate(recorded(framework)):
        if "name" not in case and chosen(case):
            yield case, place


def groups(chosen=lambda case: True):
    """(framework, operation, variant), each with the chosen cases of the grid and their places."""
    found = collections.defaultdict(list)
    for framework in FRAMEWORKS:
        for case, place in grid(framework, chosen):
            found[framework, case["op"], case["variant"]].append((case, place))
    return [pytest.param(key[0], cases, id=", ".join(key)) for key, cases in found.items()]


def tolerance(case):
    return TF_LOSSES_RELATIVE if case["call"].startswith(TF_LOSSES) else RELATIVE


def described(case, part):
    options = {name: value for name, value in case["options"].items() if np.ndim(value) == 0}
    return f"{part} of {case['call']}, shape {case['shape']}, {options}"


@pytest.mark.parametrize("framework, cases", groups())
def test_framework_means_what_we_say(framework, cases):
    for case, place in cases:
        parts = exact_parts(framework, place)
        for name, answer in theirs(case, "float64").items():
            want, at = parts[name]
            assert answer.shape == want.shape, described(case, name)
            error = relative_error(answer, want, at)
            assert error <= tolerance(case), described(case, name)


@pytest.mark.parametrize("framework, cases", groups(supported))
def test_float64(framework, cases):
    for case, place in cases:
        parts, answers = exact_parts(framework, place), ours(case, "float64")
        for name, answer in theirs(case, "float64").items():
            error = relative_error(answers[name], answer, parts[name][1])
            assert error <= tolerance(case), described(case, name)


@pytest.mark.parametrize("framework, cases", groups(supported))
def test_float32(framework, cases):
    for case, place in cases:
        parts, answers = exact_parts(framework, place), ours(case, "float32")
        for name, answer in theirs(case, "float64").items():
            error = ulp_error(answers[name], answer, parts[name][1]).max(initial=0)
            assert error <= BOUNDS[name], described(case, name)


@functools.cache
def worst_ulp(framework):
    """For each part: the number of cases, how many we support; the worst float32 error of the framework, and ours."""
    worst = collections.defaultdict(lambda: [0, 0, 0.0, 0.0])
    for case, place in grid(framework):
        parts = exact_parts(framework, place)
        mine = ours(case, "float32") if supported(case) else {}
        for name, answer in theirs(case, "float32").items():
            found = worst[name]
            found[0] += 1
            # log_loss returns float64
            found[2] = max(found[2], ulp_error(np.float32(answer), *parts[name]).max(initial=0))
            if name in mine:
                found[1] += 1
                found[3] = max(found[3], ulp_error(mine[name], *parts[name]).max(initial=0))
    return worst


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_framework_ulp(framework):
    worst = {name: math.ceil(found[2]) for name, found in worst_ulp(framework).items()}
    assert worst == FRAMEWORK_ULP[framework]


def test_every_parameter_is_looked_at():
    """OPTIONS has all parameters of the loss that occur in the files."""
    asked = {
        name for framework in FRAMEWORKS for case in recorded(framework) for name in case["options"]
    }
    parameters = set(inspect.signature(sx.cross_entropy).parameters)
    assert parameters & asked == OPTIONS


if __name__ == "__main__":
    for framework in FRAMEWORKS:
        print(framework, read(framework)[0])
        for name, (count, of_ours, their_worst, our_worst) in worst_ulp(framework).items():
            print(
                f"  {name:20} {count:5} cases, worst {their_worst:8.3f} ulp of float32;"
                f" ours in {of_ours:4}: {our_worst:.3f}"
            )
