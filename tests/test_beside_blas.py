"""Beside a BLAS that has threads, too: no more threads than were set, and none that spins."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Threads of the BLAS and of smoothxent, and callers that use both at once.
WIDTH, CALLERS = 2, 3
SCRIPT = f"""
import json, threading, time
import numpy as np
import smoothxent as sx

def threads():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("Threads:")).split()[1])

def idle_share():
    "Of half a second without work, how much the process is at work."
    time.sleep(0.2)
    start, used = time.perf_counter(), time.process_time()
    time.sleep(0.5)
    return (time.process_time() - used) / (time.perf_counter() - start)

rng = np.random.default_rng(0)
w = rng.standard_normal((512, 1000), dtype=np.float32)
x = rng.standard_normal((3000, 512), dtype=np.float32)
labels = rng.integers(0, 1000, 3000)

def step():
    z = x @ w
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, label_smoothing=0.1, reduction="none")
    return z, loss, grad, sx.softmax(z), grad @ w.T

sx.set_num_threads({WIDTH})
x @ w
counts = [threads()]
right = step()
counts.append(threads())
same = []

def caller():
    for _ in range(5):
        z, loss, grad, p, back = step()
        # The BLAS may sum in another order beside others; of the same logits ours are the same.
        loss_again = sx.cross_entropy(z, labels, label_smoothing=0.1, reduction="none")
        same.append(
            np.array_equal(loss, loss_again)
            and np.array_equal(p, sx.softmax(z))
            and np.allclose(back, right[4], rtol=1e-3, atol=1e-3)
        )

callers = [threading.Thread(target=caller) for _ in range({CALLERS})]
for thread in callers:
    thread.start()
most = 0
while any(thread.is_alive() for thread in callers):
    most = max(most, threads())
    time.sleep(0.001)
for thread in callers:
    thread.join()
print(json.dumps([*counts, most, threads(), same, idle_share()]))
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell a process its threads"
)
def test_products_and_losses_in_turn_and_at_once():
    widths = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | dict.fromkeys(widths, str(WIDTH)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    blas, both, most, after, same, idle_share = json.loads(run.stdout)
    assert both == blas + WIDTH - 1, "the helpers are one fewer than the width"
    assert most <= both + CALLERS, "callers share the helpers"
    assert after <= most - 1, "or no caller was seen at work"
    assert same == [True] * 5 * CALLERS
    assert idle_share < 0.5, "an idle helper spins"
