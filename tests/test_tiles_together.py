"""Rows of few classes that are computed several tiles at a time have the bits of the same rows alone."""

import math

import numpy as np
import pytest

import smoothxent as sx
from ulp import assert_same_bits

# Groups of five tiles (of two for more than 16 classes, of three with own targets), and a partial tile at the end.
ROWS = 80 * 3 + 37
RNG = np.random.default_rng(11)


def rows(dtype, classes, order):
    """Logits with rows in all tiles that need special care, and labels some of which are ignored."""
    z = RNG.normal(0, 3, (ROWS, classes)).astype(dtype)
    z[3, 0], z[20, -1], z[21, 0] = np.nan, np.inf, -np.inf
    z[37] = -np.inf
    z[50] += 3e6
    z[66] *= 1e6
    z[130] -= 1e30
    labels = RNG.integers(0, classes, ROWS)
    # The first group has no ignored row, the second has one in its last tile, the third one in each tile.
    labels[[80 + 71, 160 + 2, 160 + 17, 160 + 40, 160 + 63, 160 + 79, ROWS - 1]] = -100
    return z.astype(dtype, order=order), labels


def answers(z, labels, mask):
    yield sx.softmax(z)
    yield sx.softmax(z, where=mask)
    yield sx.softmax(z, where=np.arange(z.shape[1]) % 3 != 1)
    yield sx.log_softmax(z, temperature=2.0)
    yield sx.logsumexp(z)
    yield sx.cross_entropy(z, labels, label_smoothing=0.1, reduction="none")
    yield from sx.cross_entropy_value_and_grad(z, labels, label_smoothing=0.1, reduction="none")
    yield from sx.cross_entropy_value_and_grad(z, labels, reduction="none")
    yield from sx.cross_entropy_value_and_grad(z, labels, z_loss=0.25, reduction="none")
    yield from sx.cross_entropy_terms(z, labels)
    # A gradient so small that it is computed in units of a power of two.
    yield from sx.cross_entropy_value_and_grad(
        z, labels, label_smoothing=0.1, temperature=1e20, reduction="none"
    )


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("classes", [1, 2, 10, 16, 17, 40, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_as_alone(dtype, classes, order):
    z, labels = rows(dtype, classes, order)
    mask = RNG.random(z.shape) < 0.8
    alone = [list(answers(z[i : i + 1], labels[i : i + 1], mask[i : i + 1])) for i in range(ROWS)]
    for number, together in enumerate(answers(z, labels, mask)):
        expected = np.concatenate([answer[number] for answer in alone])
        assert together.tobytes() == expected.tobytes(), number


def own_targets(z, labels, q, mask, priors, weights):
    """Losses and gradients of rows that differ in more than their labels."""
    classes, shared = np.linspace(0.5, 2, z.shape[1]), np.arange(z.shape[1]) != 1
    other = np.float64 if z.dtype == np.float32 else np.float32
    for options in (
        {"targets": q, "class_weight": classes},
        {"targets": q.astype(other)},
        {"targets": q},
        {"targets": q, "label_smoothing": 0.1},
        {"targets": q, "label_smoothing": 0.1, "class_weight": classes, "where": mask},
        {"targets": q, "label_smoothing": 0.1, "sample_weight": weights, "prior": priors},
        {"targets": labels, "label_smoothing": 0.1, "sample_weight": weights},
        {"targets": labels, "label_smoothing": 0.1, "class_weight": classes},
        {"targets": labels, "label_smoothing": 0.1, "where": mask},
        {"targets": labels, "label_smoothing": 0.1, "where": shared},
        {"targets": labels, "label_smoothing": 0.1, "prior": priors},
    ):
        yield from sx.cross_entropy_value_and_grad(z, reduction="none", **options)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("classes", [2, 10, 17, 64, 65, 128, 160])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_own_targets_have_the_same_bits_as_alone(dtype, classes, order):
    """Also of tiles without weights beside tiles with weights, whatever the memory for weights held before."""
    z, labels = rows(dtype, classes, order)
    q, priors = RNG.random((2, *z.shape))
    q[16:48] = np.eye(classes)[RNG.integers(0, classes, 32)]
    q = np.asarray(q, dtype, order=order)
    priors = (priors / priors.sum(1, keepdims=True)).astype(dtype)
    mask = RNG.random(z.shape) < 0.8
    weights = RNG.random(ROWS) * (RNG.random(ROWS) < 0.8)
    of_rows = (z, labels, q, mask, priors, weights)
    sx.softmax(np.full((ROWS, 64), np.nan, dtype))
    alone = [list(own_targets(*(of[i : i + 1] for of in of_rows))) for i in range(ROWS)]
    for number, together in enumerate(own_targets(*of_rows)):
        expected = np.concatenate([answer[number] for answer in alone])
        assert together.tobytes() == expected.tobytes(), number


@pytest.mark.parametrize("classes", [64, 65, 127, 128, 129, 160, 161, 191, 192])
def test_the_loss_of_one_row_among_ignored_rows(classes):
    """A sum is not rounded to float32: it shows the order in which the exponentials are added."""
    z, labels = np.zeros((40, classes), np.float32), np.full(40, -100)
    for _ in range(100):
        z[0] = -RNG.choice([20, 45, 47, 50], classes) - RNG.random(classes)
        labels[0] = RNG.integers(classes)
        z[0, labels[0]] = 0
        alone = sx.cross_entropy(z[:1], labels[:1], reduction="sum")
        assert sx.cross_entropy(z, labels, reduction="sum") == alone


def sums(z, labels, **options):
    """The sum and the weighted mean of the losses of all rows."""
    weights = np.linspace(0.5, 2, len(z))
    yield sx.cross_entropy(z, labels, reduction="sum", **options)
    yield sx.cross_entropy(z, labels, sample_weight=weights, **options)
    yield sx.cross_entropy_value_and_grad(z, labels, reduction="sum", **options)[0]


@pytest.mark.parametrize("count", [9, 255, 256, 257, 640, 641, 14_000, 33_000])
@pytest.mark.parametrize("classes", [2, 10, 40, 64, 65])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_rows(dtype, classes, count):
    """They have the same bits whichever threads add them, in whichever blocks."""
    rng = np.random.default_rng(count)
    z = rng.normal(0, 3, (count, classes)).astype(dtype)
    labels = rng.integers(0, classes, count)
    labels[rng.random(count) < 0.01] = -100
    expected = list(sums(z, labels))
    if dtype == "float64":
        losses = sx.cross_entropy(z, labels, reduction="none")
        assert expected[0] == pytest.approx(math.fsum(losses), rel=3 * 2**-53)
    everything = np.ones_like(z, dtype=bool)
    for threads in (1, 2, 3):
        with sx.num_threads(threads):
            assert list(sums(z, labels)) == expected
            assert list(sums(np.asfortranarray(z), labels)) == expected
            assert list(sums(z, labels, where=everything)) == expected


@pytest.mark.parametrize("classes", [65, 100, 128, 160])
def test_log_softmax_of_large_logits_in_tiles_and_alone(classes):
    """Rows whose maximum is subtracted first, where log p is between -10 and 0: many rows are computed in tiles."""
    rng = np.random.default_rng(classes)
    for exponent in range(18, 30):
        steps = max(0.25, 2.0 ** (exponent - 23)) * rng.integers(0, 40, (64, classes))
        z = (2.0**exponent + steps).astype(np.float32)
        assert_same_bits(sx.log_softmax(z), np.stack([sx.log_softmax(row) for row in z]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiles_without_weights_beside_tiles_with_weights(dtype):
    """After a group whose weights are infinite: their memory is used again."""
    z, q = np.zeros((400, 3), dtype), np.tile(np.array([1, 0, 0], dtype), (400, 1))
    where = np.ones(z.shape, bool)
    q[:160], where[:160, 2] = [0.5, 0.25, 0.25], False  # a probability of a masked class
    q[176::32] = [0.5, 0.5, 0]
    _, grad = sx.cross_entropy_value_and_grad(z, q, where=where, reduction="none")
    for row in range(400):
        one = slice(row, row + 1)
        _, alone = sx.cross_entropy_value_and_grad(
            z[one], q[one], where=where[one], reduction="none"
        )
        assert_same_bits(grad[one], alone)
