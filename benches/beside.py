"""The time of a call beside the threads of another library, or of a second process of ours.

    python -m benches.beside                            # in an environment with the other libraries
    python -m benches.beside onnxruntime processes      # some of them

The logits are a product of 256 x 512 and 512 x 1000 that another library computes, on as many
threads as there are processors, like a server that scores the output of its model; or two processes
of ours call at the same time, like two workers of a server. Softmax and the loss with its gradient
are timed, on one thread and on all, in turns of a quarter of a second; two processes take their turns
by the same clock. Neighbours that spin between their calls occupy the other processors for a moment:
a second thread must not slow down calls there. Each neighbour has its own process; libraries that are
not installed are left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

import smoothxent as sx
from benches import machine
from benches.problem import Array, Problem, make_problem

SHAPE, FEATURES = (256, 1000), 512
TURN = 0.25  # seconds
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
Product = Callable[[], Array]


def onnxruntime(x: Array, w: Array, spins: bool = True) -> Product:
    """ONNX Runtime, whose threads spin for a while after each run by default."""
    from onnx import parser

    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    (rows, features), classes = x.shape, w.shape[1]
    inputs = f"float[{rows}, {features}] x, float[{features}, {classes}] w"
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
        beside ({inputs}) => (float[{rows}, {classes}] z) {{ z = MatMul(x, w) }}"""
    model = parser.parse_model(text).SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["z"], {"x": x, "w": w})[0]


def onnxruntime_sleeping(x: Array, w: Array) -> Product:
    """ONNX Runtime without spinning: the other processors are free."""
    return onnxruntime(x, w, spins=False)


def torch(x: Array, w: Array) -> Product:
    """PyTorch, with the threads of OpenMP."""
    library = import_module("torch")
    library.set_num_threads(THREADS)
    left, right = library.from_numpy(x), library.from_numpy(w)
    return lambda: library.mm(left, right).numpy()


def tensorflow(x: Array, w: Array) -> Product:
    """TensorFlow, with its own thread pool."""
    library = import_module("tensorflow")
    library.config.threading.set_intra_op_parallelism_threads(THREADS)
    left, right = library.constant(x), library.constant(w)
    return lambda: library.linalg.matmul(left, right).numpy()


def processes(x: Array, w: Array) -> Product:
    """A second process that does the same as this one; without a product."""
    z = x @ w
    return lambda: z


NEIGHBOURS = {
    each.__name__: each
    for each in (onnxruntime, onnxruntime_sleeping, torch, tensorflow, processes)
}


def calls(problem: Problem) -> dict[str, Callable[[Array], Any]]:
    """The calls that are timed."""
    out, labels, eps = np.zeros_like(problem.logits), problem.labels, problem.epsilon
    both = sx.cross_entropy_value_and_grad
    return {
        "softmax": lambda z: sx.softmax(z, out=out),
        "loss_grad": lambda z: both(z, labels, label_smoothing=eps, grad_out=out)[1],
    }


def times(product: Product, call: Callable[[Array], Any], seconds: float) -> dict[int, Array]:
    """Return the microseconds of each call, by the number of threads."""
    took: dict[int, list[float]] = {1: [], THREADS: []}
    end = time.time() + seconds
    while (now := time.time()) < end:
        threads = THREADS if int(now / TURN) % 2 else 1
        sx.set_num_threads(threads)
        z = product()
        start = time.perf_counter()
        call(z)
        took[threads].append((time.perf_counter() - start) * 1e6)
    return {threads: np.array(each) for threads, each in took.items()}


def beside(name: str, seconds: float, is_other: bool) -> None:
    """Run beside one neighbour, and print a line for each call."""
    problem = make_problem(SHAPE)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((SHAPE[0], FEATURES), dtype=np.float32)
    w = rng.standard_normal((FEATURES, SHAPE[1]), dtype=np.float32) * np.float32(0.1)
    product = NEIGHBOURS[name](x, w)
    for call, function in calls(problem).items():
        z = product()
        answers = []
        for threads in (1, THREADS):
            sx.set_num_threads(threads)
            answers.append(function(z).copy())
        if not np.array_equal(*answers):
            raise SystemExit(f"{call} beside {name}: other bits on {THREADS} threads than on one")
        times(product, function, 2 * TURN)  # the first calls start threads
        took = times(product, function, seconds)
        one, all_ = (np.percentile(took[threads], (50, 99)) for threads in (1, THREADS))
        if not is_other:
            cells = " ".join(f"{value:8.0f}" for value in (*one, *all_))
            ratios = "".join(f"{ratio:9.2f}" for ratio in all_ / one)
            print(f"{name:22}{call:11}{cells}{ratios}", flush=True)


def main() -> None:
    """Run each neighbour in its own process, and our two processes each in one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[[], *NEIGHBOURS], default=[])
    parser.add_argument("--seconds", type=float, default=10, help="for each line, default 10")
    parser.add_argument("--as-neighbour", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--as-other", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_neighbour:
        beside(arguments.names[0], arguments.seconds, arguments.as_other)
        return
    print(
        f"{machine.cpu()}, {THREADS} threads, load {machine.load()}; µs; ratios are {THREADS} threads / 1"
    )
    heads = ("median", "p99", "median", "p99")
    print(
        f"{'beside':22}{'call':11}"
        + " ".join(f"{head:>8}" for head in heads)
        + "   median      p99"
    )
    for name in arguments.names or NEIGHBOURS:
        missing = name.partition("_")[0]
        if name != "processes" and not installed(missing):
            print(f"{name:22}left out: {missing} is not installed")
            continue
        command = [sys.executable, "-m", "benches.beside", "--as-neighbour", name]
        command += ["--seconds", str(arguments.seconds)]
        other = subprocess.Popen([*command, "--as-other"]) if name == "processes" else None
        subprocess.run(command, check=True)
        if other is not None:
            other.wait()


def installed(name: str) -> bool:
    """Return whether a library can be imported, with the packages that it needs here."""
    from importlib.util import find_spec

    return all(find_spec(each) for each in ([name, "onnx"] if name == "onnxruntime" else [name]))


if __name__ == "__main__":
    main()
