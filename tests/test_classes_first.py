"""Arguments whose classes lie apart in memory, together with others whose classes are neighbours: the bits of all in
C order. Rows that are neighbours in memory are copied together: their logits, masks and probabilities.
"""

import itertools

import numpy as np
import pytest

import smoothxent as sx
from problems import STORED, problem, random_probabilities
from ulp import assert_same_bits

CLASSES = (65, 130, 300, 1025, 16385)
# Rows as the axes before the classes: fewer than are copied together, as many, and more; and ends between them.
BATCHES = ((7,), (8, 3), (2, 70), (3, 17), (300,))
OPTIONS = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.1},
    "prior": {"label_smoothing": 0.1, "prior": True},
    "prior and weights": {"label_smoothing": 0.3, "prior": True, "class_weight": True},
    "prior of each row": {"label_smoothing": 0.2, "prior": "rows"},
}


def turned(array):
    """The same rows, with the classes before the last axis of the batch in memory."""
    return np.moveaxis(np.moveaxis(array, -1, -2).copy(), -2, -1)


def layouts(*arrays):
    """The arrays in C order or turned, in every combination; None stays."""
    choices = ([a] if a is None else [a, turned(a)] for a in arrays)
    return itertools.product(*choices)


def arguments(batch, classes, dtype, options):
    """Logits, a mask, probabilities of all sizes of mass and the options, with rows of every kind."""
    rows = int(np.prod(batch))
    rng = np.random.default_rng([classes, rows])
    z, _, prior = problem(classes, np.float64, rows=rows)
    z[1, 5], z[2, 7], z[3, ::3] = np.nan, np.inf, -np.inf
    kept = rng.random((rows, classes)) < 0.8
    kept[:, 0], kept[4] = True, False
    q = random_probabilities(rng, rows, classes, np.float64)
    q[0] = np.arange(classes) == 3
    if dtype != np.float16:
        q[5] *= 1e30  # divided by its unit, so its weights are computed in doubles
    options = dict(options)
    if options.get("prior") == "rows":
        options["prior"] = rng.dirichlet(np.ones(classes), rows).reshape(*batch, classes)
    elif "prior" in options:
        options["prior"] = prior
    if "class_weight" in options:
        options["class_weight"] = prior[::-1] * classes
    z, kept, q = (a.reshape(*batch, classes) for a in (z, kept, q))
    return z.astype(dtype), kept, q, options


@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_loss_and_gradient(dtype, classes, options, has_mask):
    for batch in BATCHES[: 2 if classes > 1100 else None]:
        z, kept, q, given = arguments(batch, classes, dtype, OPTIONS[options])
        kept = kept if has_mask else None
        labels = np.arange(z[..., 0].size).reshape(batch) % classes
        prior = given.pop("prior", None)
        rows = prior if options == "prior of each row" else None
        for targets in (labels, q.astype(dtype), q.astype(np.float32), q):
            is_label = targets is labels
            expected = None
            for own_z, own_kept, own_q, own_prior in layouts(
                z, kept, None if is_label else targets, rows
            ):
                loss, grad = sx.cross_entropy_value_and_grad(
                    own_z,
                    labels if is_label else own_q,
                    prior=prior if own_prior is None else own_prior,
                    where=own_kept,
                    reduction="none",
                    **given,
                )
                expected = expected or (loss, grad)
                assert_same_bits(loss, expected[0])
                assert_same_bits(grad, expected[1])


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_masked_rows(dtype, classes, batch):
    """The outputs too are in either layout."""
    z, kept, _, _ = arguments(batch, classes, dtype, {})
    out = np.full_like(z, 7)
    for call in (sx.softmax, sx.log_softmax):
        expected = call(z, where=kept)
        for own_z, own_kept, own_out in layouts(z, kept, out):
            call(own_z, where=own_kept, out=own_out)
            assert_same_bits(own_out, expected)
    for own_kept in (None, kept):
        expected = sx.top_k_log_softmax(z, 3, where=own_kept)
        for own_z, own_mask in layouts(z, own_kept):
            for got, wanted in zip(sx.top_k_log_softmax(own_z, 3, where=own_mask), expected):
                assert_same_bits(got, wanted)


@pytest.mark.parametrize("argument", ["targets", "prior"])
@pytest.mark.parametrize("classes", CLASSES)
def test_the_first_bad_entry_of_the_first_row_is_reported(classes, argument):
    """Whichever comes first in memory."""
    q = random_probabilities(np.random.default_rng(0), 70, classes, np.float64)
    z = np.zeros(q.shape, np.float32)
    q[9, 1], q[8, classes - 1], q[69, 0] = -1, np.inf, -2
    options = {"prior": q, "label_smoothing": 0.1} if argument == "prior" else {}
    targets = np.zeros(70, int) if argument == "prior" else q
    messages = []
    for own in (q, np.asfortranarray(q)):
        options = {**options, argument: own} if argument == "prior" else options
        with pytest.raises(ValueError, match=rf"\[8, {classes - 1}\]") as caught:
            sx.cross_entropy(z, targets if argument == "prior" else own, **options)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("classes", CLASSES)
def test_the_first_row_without_mass_is_reported(classes):
    """The prior of row 8 has the wrong sum; that of row 9 has no mass on the classes that the mask keeps."""
    u = np.random.default_rng(0).dirichlet(np.ones(classes), 70)
    z, labels = np.zeros(u.shape, np.float32), np.zeros(70, int)
    kept = np.ones(u.shape, bool)
    kept[9], kept[9, 64] = False, True
    u[9, :32] += u[9, 64] / 32
    u[9, 64] = 0
    for own_u, own_kept in layouts(u, kept):
        with pytest.raises(ValueError, match=r"\[9\]"):
            sx.cross_entropy(z, labels, prior=own_u, where=own_kept, label_smoothing=0.1)
    u[8, 64] += 0.1
    for own_u in (u, np.asfortranarray(u)):
        with pytest.raises(ValueError, match=r"\[8, :\]"):
            sx.cross_entropy(z, labels, prior=own_u, label_smoothing=0.1)
