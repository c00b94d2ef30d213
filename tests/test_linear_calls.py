"""The loss of a linear layer against float64 and finite differences; and the memory and time of a call."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import smoothxent as sx
from reference import Real
from test_linear import EVERYTHING, D, K, N, distributions, layer
from test_signals import assert_within_promise, longest_silence

rng = np.random.default_rng(1)


@pytest.mark.parametrize("chunk_rows", [50, None])
def test_float32_beside_float64(chunk_rows):
    """With rounded logits, results are within what this rounding can change.

    With E the largest error of a logit, n = D + 1 roundings of the sum of |h| |w|, the loss changes by
    2 E at most, its gradient by 2 E (p + q'); and both are rounded.
    """
    rng = np.random.default_rng(4)
    hidden = rng.standard_normal((300, D)).astype(np.float32)
    weight = rng.standard_normal((K, D)).astype(np.float32)
    labels = rng.integers(0, K, 300)
    got = sx.linear_cross_entropy_value_and_grad(
        hidden, weight, labels, reduction="sum", label_smoothing=0.1, chunk_rows=chunk_rows
    )
    h, w, eps = hidden.astype(Real), weight.astype(Real), Real(np.finfo(np.float32).eps)
    z = (h @ w.T).astype(np.float64)
    loss, g = sx.cross_entropy_value_and_grad(z, labels, reduction="sum", label_smoothing=0.1)
    error = (D + 1) * eps * (np.abs(h) @ np.abs(w).T).max()
    assert abs(got.loss - loss) <= 300 * 2 * error + 4 * eps * loss
    of_g = (2 * error + 8 * eps) * 2  # p + q' <= 2
    for a, b, c in ((got.hidden_grad, g, w), (got.weight_grad, g.T, h)):
        bound = of_g * np.abs(c).sum(0) + (b.shape[1] + 1) * eps * (np.abs(b) @ np.abs(c))
        assert (np.abs(a - b @ c) <= bound).all()
        assert bound.max() < 1e-2 * np.abs(b @ c).max()  # otherwise the bound would say nothing


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["nothing", "everything"])
@pytest.mark.parametrize("which", ["hidden", "weight", "bias"])
def test_finite_differences(which, options):
    """Along a random direction d: (f(x + td) - f(x - td)) / 2t, with errors of t**2 and eps / t."""
    hidden, weight, bias, labels = layer(np.float64)
    if "where" in options:  # if the label is masked, the loss is infinite
        options = options | {"where": options["where"] | (np.arange(K) == labels[:, None])}
    got = sx.linear_cross_entropy_value_and_grad(
        hidden, weight, labels, bias=bias, chunk_rows=4, **options
    )
    arrays = {"hidden": hidden, "weight": weight, "bias": bias}
    step = np.random.default_rng(5).standard_normal(arrays[which].shape) * 2.0**-17

    def loss(sign):
        moved = {**arrays, which: arrays[which] + sign * step}
        return sx.linear_cross_entropy(targets=labels, chunk_rows=4, **moved, **options)

    slope = float((getattr(got, f"{which}_grad") * step).sum())
    assert slope != 0
    np.testing.assert_allclose((loss(1) - loss(-1)) / 2, slope, rtol=1e-8, atol=0)


class TestProgress:
    def test_every_chunk(self):
        hidden, weight, _, labels = layer(np.float32)
        labels[[2, 3]] = -100
        seen = []
        for function in (sx.linear_cross_entropy, sx.linear_cross_entropy_value_and_grad):
            function(hidden, weight, labels, chunk_rows=4, progress=lambda *at: seen.append(at))
            assert seen == [(4, 11), (8, 11), (11, 11)]
            seen.clear()

    def test_chunks_are_of_about_one_size(self):
        hidden, weight, _, labels = layer(np.float32)
        seen = []
        sx.linear_cross_entropy(
            hidden, weight, labels, chunk_rows=12, progress=lambda done, _: seen.append(done)
        )
        assert seen == [7, 13]

    def test_an_exception_ends_the_call(self):
        class Stopped(Exception):
            pass

        def stop(done, total):
            seen.append((done, total))
            raise Stopped

        hidden, weight, _, labels = layer(np.float32)
        seen = []
        with pytest.raises(Stopped):
            sx.linear_cross_entropy(hidden, weight, labels, chunk_rows=5, progress=stop)
        assert seen == [(5, N)]

    def test_labels_that_change_meanwhile(self):
        """The labels that are checked are those that are used."""
        hidden, weight, _, labels = layer(np.float32)
        right = sx.linear_cross_entropy(hidden, weight, labels, chunk_rows=5)

        def change(done, total):
            labels[:] = K

        loss = sx.linear_cross_entropy(hidden, weight, labels, chunk_rows=5, progress=change)
        assert loss == right

    def test_has_the_caller_s_error_state(self):
        hidden, weight, _, labels = layer(np.float32)
        seen = []
        with np.errstate(all="raise"):
            expected = np.geterr()
            sx.linear_cross_entropy(
                hidden, weight, labels, progress=lambda *_: seen.append(np.geterr())
            )
        assert seen == [expected]


@pytest.mark.parametrize(
    "error, change",
    [
        (sx.LabelError, {"targets": np.append(np.zeros(N - 1, int), K)}),
        (ValueError, {"sample_weight": np.append(np.ones(N - 1), -1.0)}),
        (ValueError, {"prior": np.append(distributions(rng, N - 1), np.zeros((1, K)), axis=0)}),
        (
            ValueError,
            {"prior": np.eye(K)[0], "where": (np.arange(N) != N - 1)[:, None] | (np.arange(K) > 0)},
        ),
    ],
)
def test_an_error_in_the_last_row_comes_before_anything_is_computed(error, change):
    hidden, weight, _, labels = layer(np.float32)
    outs = [np.full((N, D), 7, np.float32), np.full((K, D), 7, np.float32)]
    arguments = {"targets": labels, "label_smoothing": 0.1, "chunk_rows": 4} | change
    seen = []
    with pytest.raises(error, match=r"\[12\]|\[12, |row \[12\]"):
        sx.linear_cross_entropy_value_and_grad(
            hidden,
            weight,
            hidden_grad_out=outs[0],
            weight_grad_out=outs[1],
            progress=lambda *at: seen.append(at),
            **arguments,
        )
    assert not seen
    for out in outs:
        assert (out == 7).all()


@pytest.mark.skipif(os.name != "posix", reason="the system has no timer signals")
def test_no_part_of_a_large_chunk_is_deaf():
    hidden, weight = (rng.standard_normal((n, 256), dtype=np.float32) for n in (2**11, 2**14))
    labels, options = np.zeros(2**11, int), {"chunk_rows": 2**11, "label_smoothing": 0.1}
    assert_within_promise(
        lambda: longest_silence(
            lambda: sx.linear_cross_entropy_value_and_grad(hidden, weight, labels, **options)
        )
    )


MEMORY = """
import json
import numpy as np
import smoothxent as sx

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))

rows, width, classes = 4096, 32, 50_000
rng = np.random.default_rng(0)
hidden = rng.standard_normal((rows, width), dtype=np.float32)
weight = rng.standard_normal((classes, width), dtype=np.float32)
labels = rng.integers(0, classes, rows)
options = {"label_smoothing": 0.1, "prior": np.full(classes, 1 / classes)}
outs = {"hidden_grad_out": hidden.copy(), "weight_grad_out": weight.copy()}

def call():
    sx.linear_cross_entropy_value_and_grad(hidden, weight, labels, **outs, **options)

call()  # starts threads: those of the BLAS keep memory of their own, 25 MB each
before = memory("VmRSS")
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # VmHWM from now on
call()
print(json.dumps([rows * classes * 4, memory("VmHWM") - before]))
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell a process its memory"
)
def test_a_tenth_of_the_memory_of_the_logits():
    """With default chunks; rows and the rows of a chunk have the ratio of 4096 rows of 128 000 classes."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    logits, most = json.loads(run.stdout)
    assert most <= 0.1 * logits
    assert most >= 0.08 * logits, "the peak is not that of this call"


def test_probabilities_need_the_memory_of_a_piece():
    """The sums of their rows, of which the divisor is made, are in float64."""
    rows, classes = 4096, 1024
    q = np.full((rows, classes), 1 / classes, np.float32)
    hidden, weight = np.zeros((rows, 4), np.float32), np.zeros((classes, 4), np.float32)
    tracemalloc.start()
    try:
        sx.linear_cross_entropy(hidden, weight, q, chunk_rows=64)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < q.nbytes / 4
