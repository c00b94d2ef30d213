"""Where frameworks differ, from us or from each other: the named cases of parity/, and all answers.

`exact` is the result of the formulas. All are expected to return it, except for the entries of
DIFFERENCES: what is different here for a user who comes from that framework. An entry is a function
of the case, or the name of the exception that is raised. Our answer to each case is tested beside
theirs, as soon as we have the options that it needs.
"""

import numpy as np
import pytest

import reference
from test_parity import (
    BOUNDS,
    FRAMEWORKS,
    TF_LOSSES,
    TF_LOSSES_RELATIVE,
    exact,
    exact_answer,
    ours,
    recorded,
    supported,
    theirs,
)
from ulp import ulp_error

US = "smoothxent"
TORCH = "F.cross_entropy"
TF_DENSE = "tf.losses.softmax_cross_entropy"
TF_SPARSE = "tf.losses.sparse_softmax_cross_entropy"
TF_XLA = "tf.losses.sparse_softmax_cross_entropy, XLA"
KERAS_DENSE = "keras.losses.CategoricalCrossentropy"
KERAS_SPARSE = "keras.losses.SparseCategoricalCrossentropy"
OPTAX_DENSE, OPTAX_SAFE = "optax.softmax_cross_entropy", "optax.safe_softmax_cross_entropy"
OPTAX_SPARSE = "optax.softmax_cross_entropy_with_integer_labels"
SKLEARN, LOG_LOSS = "sklearn._loss.HalfMultinomialLoss", "sklearn.metrics.log_loss"
MEGATRON = "vocab_parallel_cross_entropy"
ONE_HOT = (TF_DENSE, KERAS_DENSE)  # labels go through a one-hot array
EVERYBODY_ELSE = (
    TORCH, TF_DENSE, TF_SPARSE, TF_XLA, KERAS_DENSE, KERAS_SPARSE, OPTAX_DENSE, OPTAX_SAFE,
    OPTAX_SPARSE, SKLEARN,
)  # fmt: skip

# Rounding differences show in float32; other cases are compared in float64 if there is a float64 answer.
JUDGED_IN = {
    "confident rows": "float32",
    "large offset": "float32",
    "log_softmax, confident row": "float32",
}
RELATIVE = {
    "float64": 1e-12,
    "float32": 2.0**-19,  # where a loss is a difference, it has lost some digits
    "float16": 2.0**-7,  # the gradients are denormal there
    "bfloat16": 2.0**-7,
}
OUR_RELATIVE = RELATIVE | {"float32": 2.0**-22}
# Megatron-LM's float32 answers against the formulas, with its smoothing in ours.
MEGATRON_ULP = {"loss": 2, "grad": 6}

INF, NAN = np.inf, np.nan
Z = np.array([0.5, -3, 4])  # the second row of cases whose first row is ordinary
P, LSE = reference.softmax(Z), reference.logsumexp(Z)
MASKED_LSE = reference.logsumexp(Z[1:])


def says(**parts):
    """The exact answer, except for these parts: values, or functions of the exact part."""

    def answer(case):
        want = exact_answer(case)
        for name, part in parts.items():
            exact_part = want[name]
            want[name] = (
                part(exact_part) if callable(part) else np.broadcast_to(part, exact_part.shape)
            )
        return want

    return answer


def times(factor):
    return says(loss=lambda exact: factor * exact, grad=lambda exact: factor * exact)


def second_row(loss, grad):
    """The first row is exact."""
    return says(
        loss=lambda exact: np.array([exact[0], loss]),
        grad=lambda exact: np.array([exact[0], np.broadcast_to(grad, 3)]),
    )


def unsmoothed(case):
    return exact_answer(case | {"options": case["options"] | {"label_smoothing": 0.0}})


# In the order of parity/cases.py.
DIFFERENCES = {
    # A mean over nothing is nan here, as in NumPy.
    "all rows ignored": {KERAS_SPARSE: says(loss=0)},
    "no rows": {
        (TF_DENSE, TF_SPARSE, TF_XLA): says(loss=0),
        (KERAS_DENSE, KERAS_SPARSE): says(loss=lambda exact: np.zeros(0)),
        LOG_LOSS: "ValueError",
    },
    "sample weights all zero": {
        (TF_DENSE, TF_SPARSE, TF_XLA, KERAS_DENSE, KERAS_SPARSE): says(loss=0),
        SKLEARN: "ZeroDivisionError",
    },
    # Ignored rows are not read; PyTorch reads them.
    "nan in an ignored row": {TORCH: says(grad=lambda exact: [exact[0], [NAN] * 3])},
    # Keras adds up the weights of a mean before they are broadcast, unless it ignores a class.
    "sample weights of shape (2, 1)": {KERAS_DENSE: times(2)},
    # 0 log 0 is 0 for all forms of targets alike.
    "-inf off the label": {(*ONE_HOT, OPTAX_DENSE): says(loss=NAN)},
    "-inf off the label, one-hot": {(TORCH, *ONE_HOT, OPTAX_DENSE): says(loss=NAN)},
    # log_loss clips probabilities at the epsilon of float64.
    "-inf at the label": {LOG_LOSS: says(loss=52 * np.log(2))},
    # nan in the whole row, not in a part of it.
    "+inf off the label": {OPTAX_SPARSE: second_row(INF, [NAN, -1, 0])},
    "+inf at the label": {OPTAX_SPARSE: second_row(NAN, [NAN, 0, 0])},
    # A label that does not exist is an error: not 0, nan, the last class, or no class at all.
    "label K": {
        US: "LabelError",
        TORCH: "IndexError",
        (TF_SPARSE, KERAS_SPARSE): "InvalidArgumentError",
        LOG_LOSS: "ValueError",
        ONE_HOT: second_row(0, P),
        TF_XLA: second_row(NAN, NAN),
        (OPTAX_DENSE, OPTAX_SAFE): second_row(0, 0),
        OPTAX_SPARSE: second_row(NAN, P),
        SKLEARN: second_row(LSE, P),
        MEGATRON: second_row(LSE - Z.max(), P),
    },
    "label -1": {
        US: "LabelError",
        TORCH: "IndexError",
        (TF_SPARSE, KERAS_SPARSE): "InvalidArgumentError",
        ONE_HOT: second_row(0, P),
        TF_XLA: second_row(NAN, NAN),
        (OPTAX_DENSE, OPTAX_SAFE): second_row(0, 0),
        OPTAX_SPARSE: second_row(LSE - Z[-1], P - [0, 0, 1]),
        SKLEARN: second_row(LSE, P),
        MEGATRON: second_row(LSE - Z.max(), P),
    },
    # A label without a class is as improbable as one with logit -inf.
    "label masked": {
        OPTAX_SPARSE: second_row(MASKED_LSE - Z[0], [-1, *reference.softmax(Z[1:])]),
        OPTAX_DENSE: second_row(0, 0),
    },
    # Means divide by the mass of the targets. TensorFlow's gradient takes it to be 1.
    "probabilities sum to 2": {
        (TORCH, OPTAX_DENSE, OPTAX_SAFE): times(2),
        ONE_HOT: lambda case: {
            "loss": 2 * exact_answer(case)["loss"],
            "grad": (reference.softmax(case["logits"]) - case["targets"]) / 2,
        },
    },
    "negative probability": {US: "ValueError"},
    "class weights with probabilities": {TORCH: times(4.5 / 2)},
    # Smoothing outside [0, 1] is refused; other frameworks ignore it or compute with it.
    "label_smoothing -0.1": {US: "ValueError", (TORCH, TF_DENSE): unsmoothed},
    "label_smoothing 1.5": {US: "ValueError", TORCH: "RuntimeError"},
    "label_smoothing nan": {US: "ValueError", (TORCH, TF_DENSE): unsmoothed},
    # No loss is lost to rounding, nor the gradient at the label.
    "confident rows": {EVERYBODY_ELSE: says(loss=0, grad=lambda exact: np.maximum(exact, 0))},
    "large offset": {(OPTAX_SPARSE, SKLEARN): says(loss=[0.677734375, 0])},
    # log p is computed from p, which underflows; and smoothing is over the K - 1 other classes.
    "large gap, smoothed": {MEGATRON: says(loss=INF, grad=lambda exact: 3 / 2 * exact)},
    # Sums and counts are not kept in 16 bits.
    "mean of many rows in 16 bits": {(TORCH, KERAS_DENSE, KERAS_SPARSE): says(loss=0, grad=0)},
    "softmax, many classes in 16 bits": {("tf", "jax.nn", "scipy.special"): says(softmax=0)},
    "log_softmax, confident row": {
        ("torch", "tf", "jax.nn", "scipy.special"): says(log_softmax=[0, -20])
    },
    "log_softmax, one +inf": {"scipy.special": says(log_softmax=[-INF, -INF, NAN])},
    "log_softmax, many classes in 16 bits": {
        ("torch", "tf", "jax.nn", "scipy.special"): says(log_softmax=-INF)
    },
    "logsumexp, many classes in 16 bits": {
        ("torch", "tf", "jax.nn", "scipy.special"): says(logsumexp=INF)
    },
}


def who_answered(case):
    """The function for a loss; the library for softmax functions."""
    call, op = case["call"], case["op"]
    return call if op == "cross_entropy" else call.removesuffix("." + op)


def named():
    """(name, who, case) of all recorded answers, and of ours where we support the case."""
    asked = set()
    for framework in (*FRAMEWORKS, "megatron"):
        for case in recorded(framework):
            if "name" not in case:
                continue
            if case["name"] not in asked and supported(case):
                yield case["name"], US, case
            asked.add(case["name"])
            yield case["name"], who_answered(case), case


def entry(name, who):
    for names, answer in DIFFERENCES.get(name, {}).items():
        if who == names or (isinstance(names, tuple) and who in names):
            return answer
    return exact_answer


def answer_of(who, case, dtype):
    if who != US:
        return theirs(case, dtype)
    try:
        return ours(case, dtype)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


@pytest.mark.parametrize(
    "who, case", [pytest.param(who, case, id=f"{name}: {who}") for name, who, case in named()]
)
def test_answer(who, case):
    dtype = JUDGED_IN.get(case["name"]) or next(name for name in RELATIVE if name in case)
    answer, expected = answer_of(who, case, dtype), entry(case["name"], who)
    if isinstance(expected, str) or "error" in answer:
        assert answer.get("error", "").partition(":")[0] == expected
        return
    tolerance = (OUR_RELATIVE if who == US else RELATIVE)[dtype]
    if who.startswith(TF_LOSSES) and dtype == "float64":
        tolerance = TF_LOSSES_RELATIVE
    with np.errstate(invalid="ignore"):
        want = expected(case)
    assert set(answer) <= set(want)
    for name, part in answer.items():
        part_wanted = np.asarray(want[name], np.float64)
        assert part.shape == part_wanted.shape
        np.testing.assert_allclose(part, part_wanted, rtol=tolerance, err_msg=name)


def test_every_difference_is_recorded():
    found = {(name, who) for name, who, _ in named()}
    for name, entries in DIFFERENCES.items():
        for names in entries:
            for who in (names,) if isinstance(names, str) else names:
                assert (name, who) in found or who == US


def test_tf_losses_rounds_to_float32():
    """The losses of float64 logits are float32 values; ours have the digits of float64."""
    cases = [case for case in recorded("tensorflow") if case["op"] == "cross_entropy"]
    for case in cases:
        if "float64" in case and "error" not in case["float64"]:
            loss = case["float64"]["loss"]
            assert loss.dtype == np.float64
            np.testing.assert_array_equal(loss, loss.astype(np.float32))


@pytest.mark.parametrize("case", [case for case in recorded("megatron") if "name" not in case])
def test_smoothing_over_the_other_classes(case):
    """eps of the K - 1 convention is eps K / (K - 1) here; without this conversion results differ."""
    epsilon, classes = case["options"]["label_smoothing"], case["logits"].shape[-1]
    same = case["options"] | {"label_smoothing": epsilon * classes / (classes - 1)}
    converted = case | {"options": same}
    parts = exact(converted)
    we_say = ours(converted, "float32")
    for name, part in theirs(case, "float32").items():
        assert ulp_error(we_say[name], *parts[name]).max() <= BOUNDS[name]
        assert ulp_error(part, *parts[name]).max() <= MEGATRON_ULP[name]
        unconverted = ulp_error(part, *exact(case)[name]).max()
        assert (unconverted > 1000) == (epsilon > 0)
