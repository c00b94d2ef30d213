"""Losses take no memory of the size of the logits; too much is a MemoryError; nothing leaks."""

import contextlib
import gc
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import smoothxent as sx
from problems import problem

# One row repeated 2.2 million times, 2.2 * 10^9 logits: an array of them would be 9 GB. There are more
# than 2^31, so a 32-bit count fails too.
SCRIPT = """
import resource
import numpy as np
import smoothxent as sx

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # MiB

rows = 2_200_000
row = np.sin(np.arange(1000, dtype=np.float32))
z = np.broadcast_to(row, (rows, 1000))
labels = np.zeros(rows, np.uint8)
prior = np.full(1000, 0.001)
before = peak()
loss = sx.cross_entropy(z, labels, label_smoothing=0.1, reduction="none")
one = sx.cross_entropy(row, 0, label_smoothing=0.1, reduction="none")
assert loss.shape == (rows,) and (loss == one).all()
mean = sx.cross_entropy(z, labels, label_smoothing=0.1, prior=prior)
lse = sx.logsumexp(z)
assert (lse == sx.logsumexp(row)).all()
print(peak() - before)
"""
ROWS_OF_RESULTS = (
    150  # MiB: 2.2 * 10^6 losses, logsumexps, booleans and labels of up to 8 bytes are 17 MiB each
)


def test_losses_of_billions_of_logits_need_memory_for_the_rows_alone():
    pytest.importorskip("resource", reason="the system does not tell a process its memory")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < ROWS_OF_RESULTS


def test_a_result_too_large_is_a_memory_error():
    z = np.broadcast_to(np.float32(0), (2**20, 2**36))
    for call in (sx.softmax, sx.log_softmax):
        with pytest.raises(MemoryError):
            call(z)
    with pytest.raises(MemoryError):
        sx.cross_entropy_value_and_grad(z, np.zeros(2**20, np.int8))
    assert sx.softmax(np.zeros(2))[0] == 0.5


ROWS = 2**61  # rows of one 8-byte number exceed the address space


@pytest.mark.parametrize(
    "call",
    [
        lambda row: sx.softmax(row(np.float16), dtype=np.float64),
        lambda row: sx.log_softmax(row(np.float16), dtype="float64"),
        lambda row: sx.softmax(row(np.int8)),
        lambda row: sx.softmax(row(bool)),
        lambda row: sx.class_prior([0], ROWS),
        lambda row: sx.class_prior([0], ROWS, sample_weight=[0.5]),
        lambda row: sx.smooth_labels([0], ROWS, label_smoothing=0.1, dtype=np.float64),
    ],
)
def test_more_bytes_than_there_are_addresses(call):
    """NumPy calls that a ValueError."""
    with pytest.raises(MemoryError):
        call(lambda dtype: np.broadcast_to(np.zeros(1, dtype), (ROWS, 1)))


def test_a_result_with_too_many_axes_is_no_lack_of_memory():
    labels = np.zeros((1,) * 64, int)
    with pytest.raises(
        ValueError, match="^the result would have 65 axes, but an array has at most 64$"
    ):
        sx.smooth_labels(labels, 10, label_smoothing=0.1)


@pytest.mark.parametrize("axis", [0, 30, 63])
def test_a_result_with_as_many_axes_as_there_can_be(axis):
    labels = np.array([1, 2]).reshape((1,) * 40 + (2,) + (1,) * 22)
    smoothed = sx.smooth_labels(labels, 3, label_smoothing=0.5, axis=axis)
    expected = sx.smooth_labels([1, 2], 3, label_smoothing=0.5, axis=0 if axis < 40 else 1)
    np.testing.assert_array_equal(smoothed.squeeze(), expected)


ROUNDS = 500


def test_calls_leave_nothing_behind():
    """Neither memory nor references, with and without an error."""
    z, labels, u = problem(100)
    z_swapped = z.astype(z.dtype.newbyteorder())
    bad = labels.copy()
    bad[3] = 100
    arguments = (z, labels, u, z_swapped, bad, np.float32, np.dtype(np.float32))

    def refused(call, *args, **options):
        with contextlib.suppress(TypeError, ValueError):
            call(*args, **options)
            raise AssertionError("accepted")

    def rounds():
        for _ in range(ROUNDS):
            out = np.empty_like(z)
            sx.softmax(z, out=out)
            sx.softmax(z_swapped)
            sx.cross_entropy_value_and_grad(z, labels, label_smoothing=0.1, prior=u, grad_out=out)
            sx.cross_entropy_terms(z, labels, prior=u)
            refused(sx.cross_entropy, z, bad)
            refused(sx.softmax, z, out=out[1:])
            refused(sx.softmax, "z")
        gc.collect()
        return tracemalloc.get_traced_memory()[0], [sys.getrefcount(item) for item in arguments]

    tracemalloc.start()
    try:
        rounds()  # fills the caches of the interpreter
        memory, references = rounds()
        memory_then, references_then = rounds()
    finally:
        tracemalloc.stop()
    assert memory_then - memory < ROUNDS * 16  # objects are larger
    for now, then in zip(references, references_then):
        assert abs(then - now) < ROUNDS / 2


FEW_ROWS = """
import resource
import numpy as np
import smoothxent as sx

z = np.ones((16, 2**18), np.float32, order="F")
labels = np.zeros(16, int)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sx.cross_entropy(z, labels, label_smoothing=0.1)
sx.logsumexp(z)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / z.nbytes)
"""


def test_few_long_rows_of_strided_classes_need_less_memory_than_the_logits():
    pytest.importorskip("resource", reason="the system does not tell a process its memory")
    run = subprocess.run(
        [sys.executable, "-c", FEW_ROWS], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    # A thread needs a workspace for some rows, not a copy of the batch.
    assert float(run.stdout) <= 1
