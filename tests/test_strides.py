"""Strides that slicing, transposing and reshaping cannot give: interleaved rows, and repeated ones."""

import itertools

import numpy as np
import pytest

import smoothxent as sx
from problems import problem
from ulp import assert_same_bits


def test_exactly_the_outputs_that_overlap_themselves_are_refused():
    """All small shapes and strides, beside the addresses of their bytes."""
    seen = set()
    memory = np.zeros(4096, np.uint8)
    for shape in [(2, 3), (3, 2), (2, 2, 2), (3, 1, 4)]:
        for strides in itertools.product((-12, 0, 4, 7, 8, 12, 18), repeat=len(shape)):
            strided = np.lib.stride_tricks.as_strided
            out = strided(memory[2048:].view(np.float32), shape, strides)
            starts = np.zeros(1, int)
            for length, stride in zip(shape, strides):
                starts = np.add.outer(starts, np.arange(length) * stride).ravel()
            overlaps = len(set(np.add.outer(starts, np.arange(4)).ravel())) < 4 * out.size
            seen.add(overlaps)
            for call in (
                lambda out=out, shape=shape: sx.softmax(np.zeros(shape, np.float32), out=out),
                lambda out=out, shape=shape: sx.smooth_labels(
                    np.zeros(shape[:-1], int), shape[-1], label_smoothing=0.1, out=out
                ),
            ):
                if overlaps:
                    with pytest.raises(ValueError, match="^out overlaps itself "):
                        call()
                else:
                    assert call() is out
    assert seen == {True, False}


@pytest.mark.parametrize("shape", [(5, 1, 33), (4, 33), (1, 4, 33), (5, 4, 33), (33,)])
def test_a_prior_that_is_repeated_is_as_one_written_out(shape):
    z = problem(33, rows=20).logits.reshape(5, 4, 33)
    labels = np.arange(20).reshape(5, 4)
    prior = np.random.default_rng(0).dirichlet(np.ones(shape[-1]), shape[:-1])
    repeated = np.broadcast_to(prior, z.shape)
    if len(shape) == 1:
        prior = np.broadcast_to(prior, (4, 33))
    for kept in (None, z > -0.5):
        options = {"label_smoothing": 0.1, "where": kept, "reduction": "none"}
        results = [
            (
                *sx.cross_entropy_value_and_grad(z, labels, prior=u, **options),
                *sx.cross_entropy_terms(z, labels, prior=u, where=kept),
            )
            for u in (prior, repeated, repeated.copy())
        ]
        for one, two, three in zip(*results):
            assert_same_bits(one, three)
            assert_same_bits(two, three)


@pytest.mark.parametrize("classes, inner", [(2, 9), (3, 31), (10, 17)])
def test_tiles_end_with_the_innermost_axis(classes, inner):
    """The classes of the logits are an axis before the last one, those of the outputs are contiguous. So partial
    tiles are written one after another; large outputs by streaming stores, in whole cache lines.
    """
    for size in (2**12, 2**22):
        batches = size // (classes * inner)
        z, labels, _ = problem(classes, rows=batches * inner)
        moved = np.moveaxis(np.moveaxis(z.reshape(batches, inner, classes), 2, 1).copy(), 1, 2)
        labels, options = labels.reshape(batches, inner), {"label_smoothing": 0.1}
        expected = sx.softmax(z)
        loss, grad = sx.cross_entropy_value_and_grad(z, labels.ravel(), **options)
        out = np.full(moved.shape, np.nan, np.float32)
        sx.softmax(moved, out=out)
        assert_same_bits(out.reshape(z.shape), expected)
        got, _ = sx.cross_entropy_value_and_grad(moved, labels, grad_out=out, **options)
        assert_same_bits(got, loss)
        assert_same_bits(out.reshape(z.shape), grad)
