"""The loss of a linear layer beside its matrix products alone: seconds, and peak memory.

    python -m benches.linear_layer [--rows N] [--features D] [--classes K] [--rounds R]

    dense      the three products, of all rows at once, with all logits in memory
    chunked    the same products in the chunks and blocks of linear_cross_entropy_value_and_grad
    ours       linear_cross_entropy_value_and_grad: with the loss and the sums over chunks
    bfloat16   the same with weights stored in bfloat16

They take turns; ratios are of times within a round. On a busy machine they are meaningless: the threads of a BLAS
wait for each other. Needs Linux, to measure memory, and 4 K (N + 2 D) bytes. `make bench` does not run it.
"""

import argparse
import time
from statistics import median

import ml_dtypes
import numpy as np

import smoothxent as sx
from smoothxent import _linear_chunks, _linear_products


def memory(name):
    """Bytes of this process, now (VmRSS) or at the peak (VmHWM)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("rows", 4096), ("features", 1024), ("classes", 128_000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((given.rows, given.features), dtype=np.float32)
    weight = rng.standard_normal((given.classes, given.features), dtype=np.float32)
    weight *= np.float32(given.features**-0.5)
    stored = weight.astype(ml_dtypes.bfloat16)
    labels = rng.integers(0, given.classes, given.rows)
    prior = np.full(given.classes, 1 / given.classes)
    hidden_grad, weight_grad = np.ones_like(hidden), np.ones_like(weight)

    def ours(weight=weight):
        return sx.linear_cross_entropy_value_and_grad(
            hidden,
            weight,
            labels,
            label_smoothing=0.1,
            prior=prior,
            hidden_grad_out=hidden_grad,
            weight_grad_out=weight_grad,
        )

    before = memory("VmRSS")
    loss = ours().loss
    most, logits_bytes = memory("VmHWM") - before, 4 * given.rows * given.classes
    print(
        f"peak {most / 1e6:.0f} MB, {most / logits_bytes:.1%} of the logits' {logits_bytes / 1e6:.0f} MB"
    )

    logits = np.empty((given.rows, given.classes), np.float32)

    def dense():
        np.matmul(hidden, weight.T, out=logits)
        np.matmul(logits, weight, out=hidden_grad)
        np.matmul(logits.T, hidden, out=weight_grad)

    layer = _linear_products.Layer(hidden, weight, None)
    rows = _linear_chunks._balanced(given.rows, _linear_chunks.default_chunk_rows(layer))
    products = _linear_products.Products(layer, rows, with_gradients=True)
    step = products._step
    term, of_hidden = products._weight_term, products._hidden_term

    def chunked():
        for start in range(0, given.rows, rows):
            h = hidden[start : start + rows]
            g = products.logits(h)
            for first in range(0, given.classes, step):
                w, of_block = weight[first : first + step], g[:, first : first + step]
                np.matmul(of_block, w, out=of_hidden[: len(h)])
                np.matmul(of_block.T, h, out=term[: len(w)])

    np.matmul(hidden, weight.T, out=logits)
    expected = sx.cross_entropy(logits, labels, label_smoothing=0.1, prior=prior)
    assert abs(loss - expected) < 1e-5 * expected, (loss, expected)
    calls = {"dense": dense, "chunked": chunked, "ours": ours, "bfloat16": lambda: ours(stored)}
    rounds = [{name: seconds(call) for name, call in calls.items()} for _ in range(given.rounds)]
    for name in calls:
        to = {of: median(r[name] / r[of] for r in rounds) for of in ("dense", "chunked")}
        least = min(r[name] for r in rounds)
        print(
            f"{name:9} {least:7.2f} s   / dense {to['dense']:.3f}   / chunked {to['chunked']:.3f}"
        )


if __name__ == "__main__":
    main()
