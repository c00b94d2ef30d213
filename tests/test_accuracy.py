"""The promised accuracy, the same for float32 and float64: on five kinds of rows, and on rows that a search
has made as bad as possible.

`python test_accuracy.py` prints the errors found here, worst and mean, as a table.
"""

import itertools

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from options_reference import effective
from problems import FLOATS, ROW_KINDS, random_prior
from ulp import assert_within, ulp_error

# The mean error over a kind of rows, which is 0.25 for correct rounding: a small systematic error
# changes the mean more than the worst case. logsumexp has no entry, since its unit may be twice that
# of the result. 0.52 is expected of softmax and gradient; all classes of a row share the rounding of
# 1/S, so the mean over the few rows here differs by up to 0.01. The scalars of float64 rows are not
# combined in a wider type.
MEAN_ULP = {
    np.float32: {"softmax": 0.53, "log_softmax": 0.4, "loss": 0.35, "gradient": 0.53},
    np.float64: {"softmax": 0.53, "log_softmax": 0.4, "loss": 0.5, "gradient": 0.53},
}
ENOUGH_FOR_A_MEAN = 64  # the mean of this many rounding errors is 0.25 +- 0.02


def rows_of(kind, dtype):
    logits, labels = ROW_KINDS[kind](np.random.default_rng([3, list(ROW_KINDS).index(kind)]))
    prior = random_prior(np.random.default_rng(4), logits.shape[1])
    return logits.astype(dtype), labels, prior


def activation_errors(z):
    """Errors in ulp, by operation; for softmax only those of normal numbers."""
    p = reference.softmax(z)
    normal = p >= np.finfo(z.dtype).smallest_normal
    scale = np.maximum(np.abs(z.max(-1)), reference.shifted(z).log_total[..., 0])
    yield "softmax", ulp_error(sx.softmax(z), p)[normal]
    yield "log_softmax", ulp_error(sx.log_softmax(z), reference.log_softmax(z))
    yield "logsumexp", ulp_error(sx.logsumexp(z), reference.logsumexp(z), at=scale)


def loss_errors(z, labels, prior, label_smoothing):
    """Errors in ulp of the loss and of the gradient, the latter at the size of max(p_k, q'_k)."""
    options = {"label_smoothing": label_smoothing, "prior": prior}
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, reduction="none", **options)
    scale = np.maximum(reference.softmax(z), reference.target_of(z, labels, **options))
    normal = scale >= np.finfo(z.dtype).smallest_normal
    yield "loss", ulp_error(loss, reference.cross_entropy(z, labels, **options))
    yield "gradient", ulp_error(grad, reference.gradient(z, labels, **options), at=scale)[normal]


def errors(kind, dtype):
    """(operation, options, errors) of all promised results for one kind of rows."""
    z, labels, prior = rows_of(kind, dtype)
    for operation, error in activation_errors(z):
        yield operation, "", error
    for label_smoothing, u in ((0.0, None), (0.1, None), (0.1, prior), (1.0, prior)):
        for operation, error in loss_errors(z, labels, u, label_smoothing):
            yield (
                operation,
                f"eps {label_smoothing}, {'uniform' if u is None else 'random'} prior",
                error,
            )


BOUNDS = {
    "softmax": ulp.SOFTMAX,
    "log_softmax": ulp.LOG_SOFTMAX,
    "logsumexp": ulp.LOGSUMEXP,
    "loss": ulp.LOSS,
    "gradient": ulp.GRADIENT,
}
BOUNDS_OF_ANY = {
    "softmax": ulp.SOFTMAX_OF_ANY,
    "log_softmax": ulp.LOSS_OF_ANY,
    "logsumexp": ulp.LOGSUMEXP,
    "loss": ulp.LOSS_OF_ANY,
    "gradient": ulp.GRADIENT_OF_ANY,
}


@pytest.mark.parametrize("kind", ROW_KINDS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_errors_in_ulp(kind, dtype):
    for operation, options, error in errors(kind, dtype):
        assert error.max() <= BOUNDS[operation], f"{operation} {options}: worst {error.max()} ulp"
        mean = MEAN_ULP[dtype].get(operation)
        if mean is not None and error.size >= ENOUGH_FOR_A_MEAN:
            assert error.mean() <= mean, f"{operation} {options}: mean {error.mean()} ulp"


@pytest.mark.parametrize("dtype", FLOATS)
def test_gradient_at_a_confident_label(dtype):
    """With eps = 0 the gradient at the label has all its digits: it is not computed as p_y - 1."""
    z, labels, _ = rows_of("confident", dtype)
    _, grad = sx.cross_entropy_value_and_grad(z, labels, reduction="sum")
    exact = reference.gradient(z, labels)
    at_label = np.arange(len(z)), labels
    assert_within(ulp.GRADIENT, grad[at_label], exact[at_label])


@pytest.mark.parametrize("dtype", FLOATS)
def test_small_probabilities_underflow_gradually_or_to_zero(dtype):
    """Below the smallest normal number p is at most that number, and never negative or nan."""
    z, _, _ = rows_of("wide", dtype)
    if dtype == np.float64:
        z = 8 * z  # e^-1280; float64 ends at e^-745
    p = sx.softmax(z)
    tiny = np.finfo(dtype).smallest_normal
    below = reference.softmax(z) < tiny
    assert below.any()
    assert (p[below] >= 0).all()
    assert (p[below] <= tiny).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", range(3))
def test_adversarial_rows(dtype, seed):
    """Near ties, two scales in one row, and one-sided rows: where a careless sum or shift shows."""
    rng = np.random.default_rng([7, seed])
    classes = int(rng.choice([2, 3, 10, 40, 257]))
    near_ties = (
        np.nextafter(dtype(5), dtype(6))
        + rng.integers(0, 3, (50, classes)) * np.finfo(dtype).eps * 8
    )
    two_scales = np.where(
        rng.random((50, classes)) < 0.5, rng.uniform(-1e-6, 1e-6, (50, classes)), -20
    )
    one_sided = -rng.exponential(30, (50, classes))
    steps = np.log(2) * rng.integers(-20, 20, (50, classes))  # exp at the edges of its reduction
    for z in (near_ties, two_scales, one_sided, steps, steps / 2):
        z = z.astype(dtype)
        labels = rng.integers(0, classes, 50)
        prior = random_prior(rng, classes)
        cases = itertools.chain(
            activation_errors(z),
            loss_errors(z, labels, None, 0.0),
            loss_errors(z, labels, prior, 0.1),
        )
        for operation, error in cases:
            assert error.max() <= BOUNDS_OF_ANY[operation], f"{operation}: worst {error.max()} ulp"


def softmax_errors(z, prior):
    return ulp_error(sx.softmax(z), reference.softmax(z)).max(-1)


def log_softmax_errors(z, prior):
    return ulp_error(sx.log_softmax(z), reference.log_softmax(z)).max(-1)


def logsumexp_errors(z, prior):
    exact, largest = reference.logsumexp(z), z.max(-1).astype(np.longdouble)
    scale = np.maximum(np.abs(largest), exact - largest)
    return ulp_error(sx.logsumexp(z), exact, at=scale)


def smoothed_loss_errors(z, prior):
    options = {"label_smoothing": 0.1, "prior": prior}
    labels = np.zeros(len(z), int)
    loss = sx.cross_entropy(z, labels, reduction="none", **options)
    return ulp_error(loss, reference.cross_entropy(z, labels, **options))


def gradient_errors(z, prior):
    options = {"label_smoothing": 0.1, "prior": prior}
    labels = np.zeros(len(z), int)
    _, grad = sx.cross_entropy_value_and_grad(z, labels, reduction="none", **options)
    scale = np.maximum(reference.softmax(z), reference.target_of(z, labels, **options))
    return ulp_error(grad, reference.gradient(z, labels, **options), at=scale).max(-1)


def starts(rng, rows, classes):
    """Rows at which the search starts: of one size, led by one class, near powers of two, with equal large gaps."""
    led = np.arange(classes) == 0
    yield -rng.exponential(3, (rows, classes))
    yield np.where(led, 20, 0) + rng.normal(size=(rows, classes))
    powers = rng.integers(-31, -2, (rows, classes)) + 1e-3 * rng.normal(size=(rows, classes))
    yield np.where(led, 0, np.log(2) * powers)
    gaps = rng.uniform(16, 40, (rows, 1)) + 1e-3 * rng.normal(size=(rows, classes))
    yield np.where(led, 1 + 2.0**-20, -gaps)


def changed(rng, z):
    """Rows like those of `z`: some numbers moved by a few units in the last place, or by more."""
    if rng.random() < 0.5:
        step = np.spacing(np.abs(z)) * rng.integers(-3, 4, z.shape)
    else:
        step = 0.3 * rng.normal(size=z.shape)
    moved = rng.random(z.shape) < rng.choice([1.0, 0.3, 2 / z.shape[1]])
    return np.where(moved, z + step, z).astype(z.dtype)


GENERATIONS = 30


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("classes", [3, 5, 33, 64])
@pytest.mark.parametrize(
    "operation, errors_of, has_prior",
    [
        ("softmax", softmax_errors, False),
        ("log_softmax", log_softmax_errors, False),
        ("logsumexp", logsumexp_errors, False),
        ("loss", smoothed_loss_errors, False),
        ("loss", smoothed_loss_errors, True),
        ("gradient", gradient_errors, False),
    ],
)
def test_rows_found_by_search(operation, errors_of, has_prior, classes, dtype):
    """In each generation, the rows with the largest errors are kept and changed."""
    rng = np.random.default_rng([8, classes])
    prior = random_prior(rng, classes) if has_prior else None
    for z in starts(rng, 240, classes):
        z = z.astype(dtype)
        error = errors_of(z, prior)
        for _ in range(GENERATIONS):
            best = np.argsort(-error)[:60]
            children = changed(rng, z[best].repeat(3, 0))
            z = np.concatenate([z[best], children])
            error = np.concatenate([error[best], errors_of(children, prior)])
        bound = ulp.LOGSUMEXP_OF_ANY if operation == "logsumexp" else BOUNDS_OF_ANY[operation]
        assert error.max() <= bound, f"worst {error.max()} ulp: {z[error.argmax()]!r}"


# Rows that had errors of more than 3 ulp when four exponentials, and four gaps, were added in the type of the rows;
# the last, when the product with the prior was rounded to this type before it was added.
FOUND = [
    ([-9.70348072052002, 0.0, -12.476160049438477, -3.4646904468536377], 1, 0.0, None),
    (
        [-4.1563639640808105, -20.79192352294922, 0.0, -20.790313720703125, -18.712432861328125],
        2,
        0.0,
        None,
    ),
    (
        [0.0009992095874622464, -2.0006561279296875, -128.04495239257812, -0.06250015646219254],
        0,
        0.9,
        None,
    ),
    (
        [-128.03057861328125, -0.12503091990947723, -0.001610357197932899, -4.003665447235107],
        1,
        0.95,
        [0.5009185075759888, 0.3197401165962219, 0.12753881514072418, 0.051802534610033035],
    ),
]


# Rows of float32 that had errors of more than 3 ulp when the exponential of the maximum had the rounding errors of its
# reduced argument and of its polynomial: pairs of classes, one half an ulp of the other, and then the maximum.
# The number of pairs, the pair, the maximum, the temperature.
PAIRS = [
    (9, (-2.5719799995422363, -19.40812110900879), 38.44301986694336, 1.0),
    (19, (-2.6245763301849365, -19.40812110900879), 71.02252197265625, 1.0),
    (19, (84.02494812011719, 67.23527526855469), 157.67257690429688, 1.0),
    (2, (-190.60968, -247.2314), -72.7382812, 3.3334534168243408),
    (16, (-30.2128658, -37.0352402), -24.361536, 0.40173351764678955),
]


# Rows of float32 with the largest errors that are known: of logsumexp 3.05 ulp, of softmax 4.42.
LARGEST = [
    [-62.25323486328125, -79.01878356933594] * 28 + [9.09505008797317e-29],
    [7.7810163497924805, -9.010913848876953] * 19 + [-26.705331802368164],
]


@pytest.mark.parametrize("row", LARGEST)
def test_rows_with_the_largest_errors(row):
    for operation, error in activation_errors(np.array([row], np.float32)):
        bound = ulp.LOGSUMEXP_OF_ANY if operation == "logsumexp" else BOUNDS_OF_ANY[operation]
        assert error.max() <= bound, f"{operation}: worst {error.max()} ulp"


@pytest.mark.parametrize("count, pair, largest, temperature", PAIRS)
def test_pairs_and_a_maximum(count, pair, largest, temperature):
    z = np.array([[*pair * count, largest]], np.float32)
    exact = reference.log_softmax(effective(z, temperature=temperature)[0])
    assert_within(ulp.LOSS_OF_ANY, sx.log_softmax(z, temperature=temperature), exact)
    loss = sx.cross_entropy(z, [2 * count], temperature=temperature, reduction="none")
    assert_within(ulp.LOSS_OF_ANY, loss, -exact[:, -1])


@pytest.mark.parametrize("row, label, label_smoothing, prior", FOUND)
def test_rows_that_were_found(row, label, label_smoothing, prior):
    z = np.array([row], np.float32)
    options = {"label_smoothing": label_smoothing, "prior": prior}
    loss = sx.cross_entropy(z, [label], reduction="none", **options)
    assert_within(ulp.LOSS_OF_ANY, loss, reference.cross_entropy(z, [label], **options))


# Rows of float64 that had errors of more than 3 ulp when two exponentials were added without compensation: in
# log_softmax, and in logsumexp.
FOUND_IN_FLOAT64 = [
    [
        9989.27131751187,
        10518.565291673729,
        9987.726758097193,
        9987.726758097193,
        9997.305320217325,
        9988.095958671536,
    ],
    [2.454269864696072e-06, -25.901296047726195, -10.732489615517311, -10.146513080476385],
]


@pytest.mark.parametrize("row", FOUND_IN_FLOAT64)
def test_rows_of_float64_that_were_found(row):
    for operation, error in activation_errors(np.array([row])):
        bound = ulp.LOGSUMEXP_OF_ANY if operation == "logsumexp" else BOUNDS_OF_ANY[operation]
        assert error.max() <= bound, f"{operation}: worst {error.max()} ulp"


def test_gradient_of_float64_at_a_label_that_is_unlikely():
    """Its error was 5.1 ulp when it was computed from the probability of all other classes."""
    z = np.array([[100.51529307220947, 95.49208532881362]])
    for operation, error in loss_errors(z, [1], None, 0.001):
        assert error.max() <= BOUNDS_OF_ANY[operation], f"{operation}: worst {error.max()} ulp"


# Sums whose small addends, each just below half an ulp of the large one, would all be rounded away in
# the type of the rows.
ROUNDED_AWAY = ulp.LOSS_OF_ANY


@pytest.mark.parametrize("dtype", FLOATS)
def test_small_addends_rounded_away(dtype):
    """The label leads, one class has nearly all the rest, and every other adds half an ulp to it."""
    lanes = 16 if dtype == np.float32 else 8
    half_ulp = float(np.finfo(dtype).eps) / 2
    second = 5
    same_lane = second + lanes * np.arange(1, 16)
    parts = np.array([2, 1, 1] + [0.5] * 12) / 2  # for a pair, and a quad of vectors
    for start in np.linspace(-9.7, -9.0, 60):
        for share in (0.5, 0.8, 0.98):
            z = np.full((1, 16 * lanes + 1), 40 * np.log(half_ulp) / 2)
            z[0, -1], z[0, second] = 0, start
            binade = 2.0 ** np.floor(start / np.log(2))
            z[0, same_lane] = np.log(share * parts * half_ulp * binade)
            z = z.astype(dtype)
            loss = sx.cross_entropy(z, [z.shape[1] - 1], reduction="none")
            assert_within(ROUNDED_AWAY, loss, reference.cross_entropy(z, [z.shape[1] - 1]))


if __name__ == "__main__":
    print("worst / mean error in ulp")
    for dtype, kind in itertools.product(FLOATS, ROW_KINDS):
        for operation, options, error in errors(kind, dtype):
            name = f"{operation} {options}".strip()
            print(
                f"{np.dtype(dtype).name:8} {kind:11} {name:32} {error.max():8.3f} / {error.mean():.3f}"
            )
