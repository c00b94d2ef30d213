"""Work in pieces, which can be interrupted in between, gives the same results as in one piece."""

import itertools

import numpy as np
import pytest
from ml_dtypes import bfloat16

import smoothxent as sx
from smoothxent import _checks, _labels, _pieces, _smoothing, tf_losses
from ulp import assert_same_bits

LENGTHS = [1, 5, 12, 64]
rng = np.random.default_rng(0)
LABELS = rng.integers(0, 6, (3, 7))
PRIOR = rng.dirichlet(np.ones(6), (3, 7))
KEPT = rng.random((3, 7, 6)) < 0.7
KEPT[1, 2] = False  # all classes of this row are masked
Q = rng.dirichlet(np.ones(6), (3, 7)).astype(np.float32)


def cut_to(monkeypatch, length):
    for module in (_pieces, _checks):
        monkeypatch.setattr(module, "LEN", length)
    for module in (_labels, _smoothing):
        monkeypatch.setattr(module, "FAR", length)


def overlapping(dtype):
    """Probabilities, and a result one row after them."""
    memory = np.full((8, 6), 0.125, dtype)
    memory[:, 0] = np.arange(8)
    return memory[:-1], memory[1:]


def mask_in_result():
    """A mask at the beginning of the memory of a result."""
    memory = np.zeros(8 * Q.size, np.uint8)
    kept = memory[: Q.size].view(bool).reshape(Q.shape)
    kept[...] = KEPT
    return kept, memory.view(np.float64).reshape(Q.shape)


CALLS = {
    "smoothed labels": lambda: sx.smooth_labels(LABELS, 6, label_smoothing=0.1, prior=PRIOR),
    "one label": lambda: sx.smooth_labels(4, 6, label_smoothing=0.1, dtype=bfloat16),
    "middle axis": lambda: sx.smooth_labels(LABELS, 6, label_smoothing=0.1, axis=1, dtype=float),
    "first axis": lambda: sx.smooth_labels(
        LABELS, 6, label_smoothing=0.1, prior=PRIOR[0, 0], axis=0, dtype=np.float16
    ),
    "smoothed probabilities": lambda: sx.smooth_labels(
        Q, label_smoothing=0.1, prior=PRIOR, where=KEPT, dtype=bfloat16
    ),
    "masked probabilities": lambda: sx.smooth_labels(
        Q, label_smoothing=0.1, prior=PRIOR, where=KEPT, dtype=float
    ),
    "masked probabilities, first axis": lambda: sx.smooth_labels(
        Q.T, label_smoothing=0.1, prior=PRIOR.T, where=KEPT.T, dtype=float, axis=0
    ),
    "a mask alone": lambda: sx.smooth_labels(LABELS, 6, label_smoothing=0.0, where=KEPT),
    "in place": lambda: (lambda q: sx.smooth_labels(q, label_smoothing=0.1, out=q))(Q.copy()),
    "over the next row": lambda: (lambda q, out: sx.smooth_labels(q, label_smoothing=0.1, out=out))(
        *overlapping(np.float32)
    ),
    "over the prior": lambda: (
        lambda u: sx.smooth_labels(LABELS, 6, label_smoothing=0.1, prior=u[:, ::-1], out=u)
    )(PRIOR.copy()),
    "over a prior for all": lambda: (
        lambda u: sx.smooth_labels(LABELS, 6, label_smoothing=0.1, prior=u[0, 0], out=u)
    )(PRIOR.copy()),
    "over the mask": lambda: (
        lambda kept, out: sx.smooth_labels(Q, label_smoothing=0.1, where=kept, out=out)
    )(*mask_in_result()),
    "over the transpose": lambda: (lambda q: sx.smooth_labels(q, label_smoothing=0.1, out=q.T))(
        Q[0, :6].copy()
    ),
    "dropped": lambda: sx.label_dropout(LABELS, 6, rate=0.5, rng=0),
    "dropped by a prior": lambda: sx.label_dropout(
        LABELS.astype(np.int8), 6, rate=0.5, prior=PRIOR[0, 0], rng=0
    ),
    "counted": lambda: sx.class_prior(LABELS, 6, sample_weight=np.arange(7), ignore_index=3),
    "counted with weights": lambda: sx.class_prior(
        LABELS, 6, sample_weight=PRIOR[..., 0], pseudocount=0.1
    ),
    "converted": lambda: sx.softmax(LABELS.astype(">i2").T),
    "a list": lambda: sx.softmax(LABELS.tolist()),
    "a list of ints and floats": lambda: sx.softmax([[1, 2, 3, 4, 5, 6, 7], [0.5] * 7]),
    "a list of bools and ints": lambda: sx.softmax([True] * 20 + [2**40] * 20 + [2**63] * 20),
    "a list of arrays": lambda: sx.softmax(list(LABELS)),
    "a list of floats of several types": lambda: sx.softmax([np.float32(1)] * 20 + [0.5] * 20),
    "a range": lambda: sx.softmax(range(40)),
    "copied back": lambda: (lambda z: sx.softmax(z[:, :-1], out=z[:, 1:]))(Q[0].copy()),
    "weighted mean": lambda: tf_losses.softmax_cross_entropy(
        Q, Q, np.ldexp(PRIOR[..., 0], 1020), 0.1, "weighted_mean"
    ),
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", CALLS)
def test_the_same_as_in_one_piece(monkeypatch, name, length):
    expected = np.asarray(CALLS[name]())
    cut_to(monkeypatch, length)
    got = np.asarray(CALLS[name]())
    if name == "weighted mean":  # a sum of sums, in other groups
        np.testing.assert_allclose(got, expected, rtol=1e-15)
    else:
        assert_same_bits(got, expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_errors_have_the_same_texts(monkeypatch, length):
    """The first bad place, in any piece."""
    bad_labels, bad_q, bad_u = LABELS.copy(), Q.copy(), PRIOR.copy()
    bad_labels[[1, 2], [3, 0]] = 6
    bad_q[[1, 2], [4, 0], [5, 0]] = -1
    bad_u[[1, 2], [4, 0], [5, 0]] = np.nan
    off = PRIOR.copy()
    off[[1, 2], [4, 0]] *= 2
    calls = [
        lambda: sx.smooth_labels(bad_labels, 6, label_smoothing=0.1),
        lambda: sx.smooth_labels(bad_q, label_smoothing=0.1),
        lambda: sx.smooth_labels(bad_q, label_smoothing=0.1, axis=0),
        lambda: sx.smooth_labels(LABELS, 6, label_smoothing=0.1, prior=bad_u),
        lambda: sx.smooth_labels(LABELS, 6, label_smoothing=0.1, prior=off),
        lambda: sx.smooth_labels(
            LABELS, 6, label_smoothing=0.1, prior=np.eye(6)[0], where=~KEPT & (np.arange(6) > 0)
        ),
        lambda: sx.label_dropout(bad_labels, 6, rate=0.1),
        lambda: sx.class_prior(LABELS, 6, sample_weight=bad_u[..., 5]),
        lambda: sx.softmax([*[1.0] * 20, "a"]),
    ]

    def texts():
        for call in calls:
            with pytest.raises((ValueError, TypeError)) as caught:
                call()
            yield str(caught.value)

    expected = list(texts())
    cut_to(monkeypatch, length)
    assert list(texts()) == expected


RAGGED = {
    "between pieces": (
        [[1.0] * 4, [1.0] * 4, [1.0] * 3],
        "item 0 has shape (4,), and item 2 has shape (3,)",
    ),
    "within a piece": ([1.0] * 9 + [[1.0]], "(items 8 to 9)"),
}


@pytest.mark.parametrize("name", RAGGED)
def test_items_of_different_shapes(monkeypatch, name):
    obj, text = RAGGED[name]
    cut_to(monkeypatch, 4)
    with pytest.raises(TypeError, match="logits cannot be read as an array: ") as caught:
        sx.softmax(obj)
    assert str(caught.value).endswith(text)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 0), (2, 3, 5), (1, 20), (20, 1)])
@pytest.mark.parametrize("length", LENGTHS)
def test_each_element_is_in_one_piece_and_in_order(monkeypatch, shape, length):
    cut_to(monkeypatch, length)
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    pieces = [array[at] for at in _pieces.pieces(shape)]
    assert all(piece.size <= length and piece.ndim == len(shape) for piece in pieces)
    assert np.concatenate([piece.ravel() for piece in pieces]).tolist() == array.ravel().tolist()


LAYOUTS = {
    "C": lambda: np.arange(600_000).reshape(600, 1000),
    "Fortran": lambda: np.arange(2_000_000).reshape(2000, 1000).T,
    "Fortran, long rows": lambda: np.arange(2_000_000, dtype=np.float32).reshape(40_000, 50).T,
    "one row, many times": lambda: np.broadcast_to(np.arange(1000), (2000, 1000)),
    "one column, many times": lambda: np.broadcast_to(np.arange(2000)[:, None], (2000, 1000)),
    "axes in any order": lambda: np.arange(720_000).reshape(50, 4, 30, 3, 40).transpose(1, 4, 3, 0, 2),
    "backwards": lambda: np.arange(2_000_000).reshape(2000, 1000)[::-1, ::-1].T,
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_copied_at_once_lies_in_few_places(monkeypatch, layout):
    """The first access to a page of new memory allocates it, which takes longer than copying to it."""
    source, copyto, runs = LAYOUTS[layout](), np.copyto, []

    def copy_piece(target, source, **how):
        runs.append(1 if target.flags.c_contiguous else target.size // target.shape[-1])
        assert target.size <= _pieces.LEN
        copyto(target, source, **how)

    with monkeypatch.context() as patched:
        patched.setattr(np, "copyto", copy_piece)
        target = _pieces.copied(source)
    assert_same_bits(target, source)
    assert max(runs) <= 16
    assert len(runs) <= 2 + 2 * source.size // _pieces.LEN


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 0), (2, 3, 5), (1, 20), (4, 3, 2, 5)])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_copy_of_any_layout(monkeypatch, shape, length):
    cut_to(monkeypatch, length)
    source = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    for step in (1, -1):
        for axes in itertools.permutations(range(len(shape))):
            moved = source[(slice(None, None, step),) * len(shape)].transpose(axes)
            assert_same_bits(_pieces.copied(moved), moved)
