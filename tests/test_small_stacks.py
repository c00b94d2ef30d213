"""Calls from a thread with the smallest stack that Python allows."""

import contextlib
import os
import subprocess
import sys
import threading

import pytest

import smoothxent as sx

# A process for each number of classes and level: too small a stack ends it, and it has printed which
# calls passed.
SCRIPT = """
import threading
import numpy as np
import smoothxent as sx

K = {classes}
sx.set_num_threads(4)
rows = max(4, 2**20 // K)
labels = np.arange(rows) % K
q = np.full(K, 1 / K, np.float32)
options = dict(label_smoothing=0.1, class_weight=np.ones(K), sample_weight=np.ones(rows),
               temperature=2.0, z_loss=1e-3)

def softmax(z):
    yield sx.softmax(z)
    yield sx.softmax(z.T, axis=0)
    yield sx.log_softmax(z, where=q > 0)
    yield sx.logsumexp(z)

def losses(z):
    yield sx.cross_entropy(z, labels)
    yield sx.cross_entropy(z, np.broadcast_to(q, z.shape), prior=q, **options)
    yield sx.cross_entropy_value_and_grad(z, labels, prior=q, where=q > 0, **options)[1]
    yield sx.cross_entropy_value_and_grad(z, np.broadcast_to(q, z.shape), **options)[1]
    yield sx.cross_entropy_terms(z, labels, prior=q)[1]

def run(calls, z):
    answers.append([np.array(answer) for answer in calls(z)])

for dtype in ("float16", "float32", "float64"):
    z = np.sin(np.arange(rows * K)).reshape(rows, K).astype(dtype)
    for calls in (softmax, losses):
        answers = []
        threading.stack_size(0)
        run(calls, z)
        threading.stack_size({stack})
        thread = threading.Thread(target=run, args=(calls, z))
        thread.start()
        thread.join()
        for first, second in zip(*answers, strict=True):
            assert first.tobytes() == second.tobytes()
        print(calls.__name__, dtype, flush=True)
"""
PASSED = [
    f"{calls} {dtype}"
    for dtype in ("float16", "float32", "float64")
    for calls in ("softmax", "losses")
]


def smallest():
    """32 KiB, of which CPython 3.11 uses 2 KiB, and glibc 4 KiB, before a call begins; CPython 3.14 wants 52 KiB."""
    for size in range(32 << 10, 1 << 20, 4 << 10):
        with contextlib.suppress(ValueError):
            threading.stack_size(threading.stack_size(size))
            return size


@pytest.mark.skipif(sys.platform == "win32", reason="the system rounds stacks up")
@pytest.mark.parametrize("level", sx.show_config("dicts")["simd"]["available"])
@pytest.mark.parametrize("classes", [10, 64, 1000, 300_000])
def test_small_stacks(classes, level):
    script = SCRIPT.format(classes=classes, stack=smallest())
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"SMOOTHXENT_MAX_ISA": level},
    )
    assert (run.returncode, run.stdout.splitlines()) == (0, PASSED), run.stderr
