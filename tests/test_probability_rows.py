"""Rows of probabilities: of few classes they are read, and computed, several at a time; each counts alone."""

import re

import numpy as np
import pytest

import smoothxent as sx
from options_reference import Problem
from reference import Real
from ulp import assert_same_bits, assert_within

ROWS = 37  # two tiles of 16 rows and a part of one; four groups of eight and a part
CLASSES = [1, 3, 10, 16, 64, 65, 130]
some_classes = pytest.mark.parametrize("classes", CLASSES)
LAYOUTS = {
    "C order": np.array,
    "Fortran order": lambda a: a.copy(order="F"),
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: a[:, ::-1].copy()[:, ::-1],
    "float64": lambda a: a.astype(np.float64),
}
KINDS = {
    "distributions": lambda q: q,
    "one-hot": lambda q: np.eye(q.shape[1], dtype=q.dtype)[np.arange(len(q)) % q.shape[1]],
    "of any mass": lambda q: (
        q * np.float32(10.0) ** (np.arange(len(q), dtype="f4") % 31 - 20)[:, None]
    ),
    "of tiny mass": lambda q: q * np.float32(1e-36),
    "some of no mass": lambda q: q * (np.arange(len(q)) % 3 > 0)[:, None].astype("f4"),
    "tiny entries": lambda q: np.where(np.arange(q.shape[1]) % 2, q, np.float32(1e-42)),
}


def distributions(classes, seed=0):
    q = np.random.default_rng(seed).random((ROWS, classes), dtype=np.float32) + np.float32(0.01)
    return q / q.sum(axis=1, keepdims=True)


@some_classes
@pytest.mark.parametrize("kind", [*KINDS, "every kind"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    "weights",
    [{}, {"sample_weight": np.arange(ROWS) % 4 / 2}, {"sample_weight": np.arange(ROWS) * 1e-35}],
    ids=["no weights", "weights", "tiny weights"],
)
def test_a_row_alone_has_the_same_bits(classes, kind, label_smoothing, weights):
    z = np.random.default_rng(1).standard_normal((ROWS, classes), dtype=np.float32) * 5
    for weight in weights.values():
        z[weight == 0] = np.nan  # never read
    q = distributions(classes)
    kinds = [KINDS[kind]] if kind in KINDS else list(KINDS.values())
    targets = np.empty_like(q)
    for row in range(ROWS):
        targets[row] = kinds[row * 7 // 5 % len(kinds)](q)[row]
    options = {"label_smoothing": label_smoothing, "reduction": "sum"}

    def of_rows(rows, layout=np.array):
        own = {name: weight[rows] for name, weight in weights.items()}
        _, grad = sx.cross_entropy_value_and_grad(z[rows], layout(targets[rows]), **own, **options)
        return grad, sx.cross_entropy(
            z[rows], layout(targets[rows]), **own, **options | {"reduction": "none"}
        )

    alone = [of_rows(slice(row, row + 1)) for row in range(ROWS)]
    grads, losses = (np.concatenate(parts) for parts in zip(*alone, strict=True))
    for layout in LAYOUTS.values():
        grad, loss = of_rows(slice(None), layout)
        assert_same_bits(grad, grads)
        assert_same_bits(loss, losses)
    # In float64, in which a row has more digits.
    sums = {
        sx.cross_entropy(z, layout(targets), **weights, **options) for layout in LAYOUTS.values()
    }
    assert len(sums) == 1


@some_classes
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_weighted", [False, True], ids=["no weights", "class weights"])
def test_doubles_that_are_no_floats(classes, label_smoothing, is_weighted):
    rng = np.random.default_rng(2)
    z = rng.standard_normal((ROWS, classes), dtype=np.float32)
    q = rng.random((ROWS, classes)) / classes
    prior = rng.random(classes) + 0.1
    prior /= prior.sum()
    options = {"label_smoothing": label_smoothing, "reduction": "none"}
    if is_weighted:
        options["class_weight"] = rng.random(classes) + 0.1
        q[:, 0], options["class_weight"][0] = 1e40, 1e-30  # infinite as a float

    def of_rows(rows, prior):
        return sx.cross_entropy_value_and_grad(z[rows], q[rows], prior=prior, **options)

    loss, grad = of_rows(slice(None), prior)
    assert np.isfinite(loss).all()
    assert np.isfinite(grad).all()
    priors = np.tile(prior, (ROWS, 1))
    alone = [of_rows(row, prior) for row in range(ROWS)]
    for own_loss, own_grad in [
        of_rows(slice(None), priors),
        map(np.stack, zip(*alone, strict=True)),
    ]:
        assert_same_bits(own_loss, loss)
        assert_same_bits(own_grad, grad)


@some_classes
def test_prior_of_each_row_in_any_layout(classes):
    z = np.random.default_rng(1).standard_normal((ROWS, classes), dtype=np.float32) * 5
    labels, prior = np.arange(ROWS) % classes, distributions(classes)
    options = {"label_smoothing": 0.3, "reduction": "sum"}
    alone = [
        sx.cross_entropy_value_and_grad(
            z[i : i + 1], labels[i : i + 1], prior=prior[i : i + 1], **options
        )[1]
        for i in range(ROWS)
    ]
    for layout in LAYOUTS.values():
        _, grad = sx.cross_entropy_value_and_grad(z, labels, prior=layout(prior), **options)
        assert_same_bits(grad, np.concatenate(alone))


@some_classes
@pytest.mark.parametrize("value", [-0.25, np.nan, np.inf])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_first_bad_entry_is_named(classes, value, layout):
    z = np.zeros((ROWS, classes), np.float32)
    for first in [0, 7, 8, 20, 36]:
        q = distributions(classes)
        place = first, first % classes
        q[place] = value
        q[first + 1 :, 0] = -1.0
        with pytest.raises(
            ValueError, match=re.escape(f"targets[{place[0]}, {place[1]}] is {value}")
        ):
            sx.cross_entropy(z, layout(q))
        with pytest.raises(
            ValueError, match=re.escape(f"prior[{place[0]}, {place[1]}] is {value}")
        ):
            sx.cross_entropy(z, np.zeros(ROWS, int), label_smoothing=0.1, prior=layout(q))


@some_classes
def test_the_first_bad_prior_is_named(classes):
    z, labels = np.zeros((ROWS, classes), np.float32), np.zeros(ROWS, int)
    for first in [0, 6, 30]:
        prior = distributions(classes)
        prior[first] *= 2
        prior[first + 1, 0] = np.nan
        with pytest.raises(ValueError, match=re.escape(f"prior[{first}, :] sums to ")):
            sx.cross_entropy(z, labels, label_smoothing=0.1, prior=prior)


def test_a_bad_prior_that_is_repeated_is_named_where_it_is_given():
    prior = np.full((2, 1, 3), 1 / 3)
    prior[1, 0, 2] = -1
    with pytest.raises(ValueError, match=re.escape("prior[1, 0, 2] is -1.0, ")):
        sx.cross_entropy(
            np.zeros((2, 3, 3)), np.zeros((2, 3), int), label_smoothing=0.1, prior=prior
        )


@some_classes
@pytest.mark.parametrize("label_smoothing", [0.0, 0.25])
def test_class_weights_are_summed(classes, label_smoothing):
    """The weighted mean divides by Σ q c of all rows; that of one-hot targets is that of their labels."""
    z = np.random.default_rng(1).standard_normal((ROWS, classes), dtype=np.float32) * 5
    labels = np.arange(ROWS) % classes
    weights = np.random.default_rng(2).random(classes) + 0.5
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    options = {"class_weight": weights, "label_smoothing": label_smoothing}
    loss, grad = sx.cross_entropy_value_and_grad(z, one_hot, **options)
    of_labels, grad_of_labels = sx.cross_entropy_value_and_grad(z, labels, **options)
    assert loss == of_labels
    assert_same_bits(grad, grad_of_labels)


def test_class_weights_that_make_each_mass_1():
    """Such rows are not labels with these weights."""
    z, q = np.arange(4.0).reshape(2, 2), np.array([[0.5, 0], [0, 0.25]])
    losses = sx.cross_entropy(z, q, class_weight=[2, 4], reduction="none")
    assert_same_bits(losses, sx.cross_entropy(z, [0, 1], reduction="none"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [10, 300])
def test_smoothed_rows_are_rounded_once(dtype, classes):
    """Although 1 - eps is no float32. Where p is 0, the gradient is -q'."""
    label_smoothing = 0.5 - 0.98 * 2.0**-25
    z, q = np.zeros((2, ROWS, classes), dtype)
    z[:, 1:] = -1e4
    q[:, 1] = np.linspace(0.8, 1, ROWS)
    q[:, 2] = 1 - q[:, 1]
    options = {"label_smoothing": label_smoothing, "reduction": "sum"}
    _, grad = sx.cross_entropy_value_and_grad(z, q, **options)
    exact = q.astype(Real) * (1 - Real(label_smoothing)) + Real(label_smoothing) / classes
    # Half an ulp, and that of eps / K, which is a small part of q'.
    assert_within(0.6, grad[:, 1], -exact[:, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [3, 70])
def test_a_smoothing_that_underflows_is_not_0(dtype, classes):
    """A logit of -inf costs +inf, whatever the layout of the targets."""
    z = np.zeros((2, classes), dtype)
    z[:, 2] = -np.inf
    q = np.zeros((2, classes), dtype)
    q[:, :2] = 0.5
    for layout in LAYOUTS.values():
        loss = sx.cross_entropy(z, layout(q), label_smoothing=5e-324, reduction="none")
        assert_same_bits(loss, np.full(2, np.inf, dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_bit_of_a_score_depends_on_the_layout(layout):
    """Not even those that its figures round away: scores are equal if all their sums are."""
    rng = np.random.default_rng(8)
    z, q = rng.normal(size=(ROWS, 20)), rng.random((ROWS, 20)).astype(np.float32)
    options = {"class_weight": rng.random(20)}
    assert sx.score(z, LAYOUTS[layout](q), **options) == sx.score(z, q, **options)


@pytest.mark.parametrize("classes", [10, 300])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": 2.0},
        {"label_smoothing": 0.1, "prior": "float64"},
        {"label_smoothing": 0.1, "prior": "float64", "class_weight": 2.0},
        {"label_smoothing": 0.1, "prior": "float64", "where": True},
    ],
    ids=str,
)
def test_a_tiny_weight_is_not_rounded_to_0(classes, options):
    """A logit of -inf costs +inf if its class has a share of q', which may be none in the type of the logits."""
    z = np.zeros((ROWS, classes), np.float32)
    z[:, 1] = -np.inf
    tiny = np.full((ROWS, classes), 1 / (classes - 1))
    tiny[:, 1] = 1e-60
    options = options.copy()
    if "class_weight" in options:
        options["class_weight"] = np.full(classes, options["class_weight"])
    if "where" in options:
        options["where"] = np.ones((ROWS, classes), bool)
    targets = [tiny]
    if "prior" in options:
        options["prior"] = tiny
        q = np.where(np.arange(classes) == 1, 0, tiny)
        targets = [np.zeros(ROWS, int), q, q.astype(np.float32)]
    for target in targets:
        losses = sx.cross_entropy(z, target, reduction="none", **options)
        assert_same_bits(losses, np.full(ROWS, np.inf, np.float32))


@some_classes
@pytest.mark.parametrize("label_smoothing", [1e-25, 1e-30, 1e-44])
def test_a_tiny_smoothing_of_labels(classes, label_smoothing):
    """A p below the smallest normal number is not negligible beside eps / K, but has the same bits in any batch."""
    z = np.random.default_rng(1).uniform(-100, 0, (ROWS, classes)).astype(np.float32)
    labels = np.arange(ROWS) % classes
    options = {"label_smoothing": label_smoothing, "reduction": "sum"}
    _, grad = sx.cross_entropy_value_and_grad(z, labels, **options)
    _, of_one_hot = sx.cross_entropy_value_and_grad(
        np.concatenate([z, z]),
        np.concatenate([np.eye(classes)[labels], distributions(classes)]),
        **options,
    )
    assert_same_bits(of_one_hot[:ROWS], grad)
    for row in range(ROWS):
        own, label = z[row : row + 1], labels[row : row + 1]
        assert_same_bits(sx.cross_entropy_value_and_grad(own, label, **options)[1][0], grad[row])


@pytest.mark.parametrize("classes", [2, 70, 300])
def test_a_class_weight_that_is_tiny_beside_others_stays_positive(classes):
    """5e-324 times a power of two near 1e-300 would be 0."""
    z, q = np.zeros((ROWS, classes)), np.zeros((ROWS, classes))
    z[:, 1] = -np.inf
    q[:, :2] = 0.25, 0.75
    weights = np.full(classes, 1e300)
    weights[1] = 5e-324
    losses = sx.cross_entropy(z, q, class_weight=weights, reduction="none")
    assert_same_bits(losses, np.full(ROWS, np.inf))


def test_weights_that_overflow_are_not_tiny():
    """The product q c is infinite, and (1 - eps)/2^1022 is 0."""
    q = np.full((1, 3), 1.7e308)
    options = {"class_weight": [2.0] * 3, "label_smoothing": 1 - 2.0**-53, "reduction": "none"}
    for dtype in [np.float32, np.float64]:
        z = np.array([[0, 2, 0]], dtype)
        assert np.isnan(sx.cross_entropy(z, q, **options, sample_weight=[1e-290]))


@pytest.mark.parametrize("classes", [3, 10, 64])
def test_a_tiny_mass_beside_others(classes):
    """Where a logit is -inf, its class has no share of q'."""
    z, q = np.zeros((2, classes)), np.full((2, classes), 1 / classes)
    z[:, 1], z[0, 2], q[0] = 5, -np.inf, 0
    q[0, 0] = 1e-310
    loss = sx.cross_entropy(z[:1], q[:1], reduction="none")
    assert_same_bits(sx.cross_entropy(z, q, reduction="none")[:1], loss)
    assert loss > 0


@pytest.mark.parametrize("mass", [1e-39, 1e-41, 1e-44])
@pytest.mark.parametrize("option", ["where", "prior"])
@pytest.mark.parametrize("classes", [3, 64, 100, 20000])
def test_smoothed_rows_of_subnormal_mass(classes, option, mass):
    """Beside eps u, they are nothing; in a unit of their size, eps u would be infinite."""
    rng = np.random.default_rng(5)
    z = rng.normal(0, 3, (4, classes)).astype(np.float32)
    q = np.maximum(rng.dirichlet(np.ones(classes), 4) * mass, 2e-45).astype(np.float32)
    options = {"where": np.arange(classes) != 1} if option == "where" else {}
    if option == "prior":
        options = {"prior": rng.dirichlet(np.ones(classes), 4)}
    q[:, 1] = 0
    losses, grad = sx.cross_entropy_value_and_grad(
        z, q, label_smoothing=0.1, reduction="none", **options
    )
    exact = Problem(z, q, label_smoothing=0.1, **options)
    assert_within(4, losses, exact.losses())
    assert_within(8, grad, exact.gradient(), at=exact.gradient_size())
