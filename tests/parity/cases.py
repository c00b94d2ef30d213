"""The table of cases for all frameworks: a grid, and the cases in which frameworks differ.

The options of a case are named as smoothxent names them; a generator translates them for its
framework, adds the reductions that the framework has, and translates their names.

The floating inputs are float32 values. Probabilities, priors and weights are dyadic fractions, so
that each distribution sums to 1 exactly and no framework's divisor is off by a rounding.
"""

import itertools

import numpy as np

EPSILONS = (0.0, 0.1, 0.37, 1.0)

# Classes last. 1: no choice; 17, 33, 65: one more than a vector or four; 1000: ImageNet.
SHAPES = (
    (5, 1), (6, 2), (7, 3), (8, 10), (4, 17), (3, 33), (3, 100), (2, 1000),
    (3, 4, 5), (2, 3, 65),
    (2, 2, 3, 7), (2, 3, 2, 10),
)  # fmt: skip

# What a row of the grid adds to logits and label_smoothing: a form of targets, and options.
VARIANTS = {
    "labels": ("labels", ()),
    "some rows ignored": ("padded", ()),
    "one class ignored": ("labels", ("ignore_index",)),
    "class weights": ("labels", ("class_weight",)),
    "class weights, some rows ignored": ("padded", ("class_weight",)),
    "sample weights": ("labels", ("sample_weight",)),
    "sample weights, broadcast": ("labels", ("sample_weight_column",)),
    "prior": ("labels", ("prior",)),
    "classes masked": ("labels", ("where",)),
    "temperature": ("labels", ("temperature",)),
    "z-loss": ("labels", ("z_loss",)),
    "probabilities": ("probabilities", ()),
    "probabilities, class weights": ("probabilities", ("class_weight",)),
    "probabilities, sample weights": ("probabilities", ("sample_weight",)),
    "probabilities, prior": ("probabilities", ("prior",)),
}
# With 65 classes and more, which would fill the files, only the variants that include the others.
WIDE_VARIANTS = {"labels", "class weights, some rows ignored", "sample weights", "probabilities"}


def dyadic(rng, shape, quanta=4096):
    """Random distributions along the last axis, in multiples of 1 / quanta; some entries are 0."""
    weight = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    return (rng.multinomial(quanta, weight) / quanta).astype(np.float32)


def problem(shape):
    """Every input that a variant may use."""
    rng = np.random.default_rng([shape[-1], len(shape)])
    rows, classes = shape[:-1], shape[-1]
    logits = (3 * rng.standard_normal(shape)).astype(np.float32)
    labels = rng.integers(0, classes, rows)
    labels.flat[:2] = classes - 1, 0
    padded = labels.copy()
    padded.flat[1::3] = -100
    class_weight = rng.integers(0, 9, classes) / np.float32(4)
    class_weight[-1] = 1  # the label of row 0: the weights never sum to 0
    sample_weight = rng.integers(0, 9, rows) / np.float32(4)
    sample_weight.flat[0] = 1
    return {
        "logits": logits,
        "labels": labels,
        "padded": padded,
        "probabilities": dyadic(rng, shape),
        "ignore_index": 0,
        "class_weight": class_weight,
        "sample_weight": sample_weight,
        "sample_weight_column": sample_weight[(..., *[slice(1)] * (len(rows) - 1))],
        "prior": (1 + rng.multinomial(65536 - classes, np.ones(classes) / classes))
        / np.float32(65536),
        "where": (rng.random(shape) < 0.7) | (labels[..., None] == np.arange(classes)),
        "temperature": 2.5,
        "z_loss": 0.125,
    }


def grid(variants, axis=-1, epsilons=EPSILONS, shapes=SHAPES):
    """Cases without a reduction, classes along `axis`."""
    for shape, variant in itertools.product(shapes, variants):
        if (shape[-1] >= 65 and variant not in WIDE_VARIANTS) or (
            variant == "one class ignored" and shape[-1] == 1
        ):
            continue
        inputs, (form, names) = problem(shape), VARIANTS[variant]
        targets = inputs[form]
        if form == "probabilities":
            targets = np.ascontiguousarray(np.moveaxis(targets, -1, axis))
        for label_smoothing in epsilons:
            options = {name.removesuffix("_column"): inputs[name] for name in names}
            yield {
                "variant": variant,
                "shape": shape,
                "logits": np.ascontiguousarray(np.moveaxis(inputs["logits"], -1, axis)),
                "targets": targets,
                "options": {"label_smoothing": label_smoothing, "axis": axis, **options},
            }


def activations(axis=-1, variants=("all classes",)):
    """Cases for softmax, log_softmax and logsumexp: the grid, and where frameworks differ."""
    for op, shape, variant in itertools.product(ACTIVATIONS, SHAPES, variants):
        inputs = problem(shape)
        yield {
            "op": op,
            "shape": shape,
            "variant": variant,
            "logits": np.ascontiguousarray(np.moveaxis(inputs["logits"], -1, axis)),
            "options": {"axis": axis}
            | ({"where": inputs["where"]} if variant == "classes masked" else {}),
        }
    for op, (name, logits) in itertools.product(ACTIVATIONS, ACTIVATION_DIFFERENCES.items()):
        yield {"op": op, "name": f"{op}, {name}", "logits": logits, "options": {"axis": -1}}


def differences(*names):
    """The cases of these names, or all."""
    for name in names or DIFFERENCES:
        logits, targets, options = DIFFERENCES[name]
        yield {
            "name": name,
            "logits": logits,
            "targets": np.asarray(
                targets, np.float32 if np.ndim(targets) == logits.ndim else np.int64
            ),
            "options": {"label_smoothing": 0.0, "reduction": "mean"} | options,
        }


def row(*logits):
    return np.array([logits], np.float32)


def rows(*logits):
    """An ordinary row, and one that may have special values."""
    return np.concatenate([row(2, 1, -1), row(*logits)])


INF, NAN = np.inf, np.nan
PLAIN = rows(0.5, -3, 4)
NONE = {"reduction": "none"}
SMOOTH = {"reduction": "none", "label_smoothing": 0.1}
MANY = 70000  # more than 65504, the largest float16
MASKED = np.array([[True, True, True], [False, True, True]])

DIFFERENCES = {
    "all rows ignored": (PLAIN, [-100, -100], {}),
    "no rows": (PLAIN[:0], np.zeros(0, np.int64), {}),
    "nan in an ignored row": (rows(NAN, INF, 0), [0, -100], {}),
    "sample weights all zero": (PLAIN, [0, 1], {"sample_weight": np.zeros(2, np.float32)}),
    "sample weights of shape (2, 1)": (
        np.array([[[2, 1], [0, 4]], [[3, 1], [0, -1]]], np.float32),
        [[0, 1], [1, 1]],
        {"sample_weight": np.array([[1], [2]], np.float32)},
    ),
    "-inf off the label": (row(2, 1, -INF), [0], NONE),
    "-inf off the label, one-hot": (row(2, 1, -INF), [[1, 0, 0]], NONE),
    "-inf off the label, smoothed": (row(2, 1, -INF), [0], SMOOTH),
    "-inf at the label": (row(2, 1, -INF), [2], NONE),
    "a row of -inf": (rows(-INF, -INF, -INF), [0, 0], NONE),
    "+inf off the label": (rows(INF, 0, 1), [0, 1], NONE),
    "+inf at the label": (rows(INF, 0, 1), [0, 0], NONE),
    "label K": (PLAIN, [0, 3], NONE),
    "label -1": (PLAIN, [0, -1], NONE),
    "label masked": (PLAIN, [0, 0], {"where": MASKED} | NONE),
    "all classes masked": (PLAIN, [0, 0], {"where": MASKED[:, :1]} | NONE),
    "probabilities sum to 2": (PLAIN, [[2, 0, 0], [0, 1, 1]], {}),
    "negative probability": (PLAIN, [[1.5, -0.5, 0], [0, 1, 0]], NONE),
    "class weights with probabilities": (
        PLAIN,
        [[0.5, 0.5, 0], [0, 0, 1]],
        {"class_weight": np.array([1, 2, 3], np.float32)},
    ),
    "label_smoothing -0.1": (PLAIN, [0, 1], {"label_smoothing": -0.1}),
    "label_smoothing 1.5": (PLAIN, [0, 1], {"label_smoothing": 1.5}),
    "label_smoothing nan": (PLAIN, [0, 1], {"label_smoothing": NAN}),
    "confident rows": (np.array([[20, 0], [0, 40]], np.float32), [0, 1], NONE),
    "large offset": (np.array([[1e4 + 1 / 32, 1e4], [3e7, 3e7]], np.float32), [0, 1], NONE),
    "large gap, smoothed": (row(200, 0, 0), [0], SMOOTH),
    "mean of many rows in 16 bits": (np.zeros((MANY, 2), np.float16), np.zeros(MANY, np.int64), {}),
}

ACTIVATIONS = ("softmax", "log_softmax", "logsumexp")
ACTIVATION_DIFFERENCES = {
    "confident row": np.array([20, 0], np.float32),
    "one +inf": np.array([1, 1, INF], np.float32),
    "only -inf": np.array([-INF, -INF], np.float32),
    "many classes in 16 bits": np.zeros(MANY, np.float16),
}
