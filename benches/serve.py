"""Latency and throughput of examples/scoring_server.py, beside the same server with SciPy.

    python -m benches.serve [--rounds N]

Both run at once, with two workers each, and get requests in turns: in a round eight clients, each with
one request at a time, request the top 3, log-probabilities and smoothed losses of a number of images, in
either format. The clients share the processors with the workers. Figures are medians of the rounds,
the ratios those of neighbouring rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benches import machine
from benches.problem import Array
from benches.serving import EXAMPLES, SERVERS, Answer, Request, ask_all, running

REQUESTS, CLIENTS = 2000, 8
APPS = ("scoring_server:app", "benches.scipy_server:app")
PATHS = ("/top-k?k=3", "/log-probabilities", "/losses?label_smoothing=0.1")
LOADS = (("x-npy", 1), ("x-npy", 256), ("json", 1), ("json", 32))  # format, images in a request


def requests(media_type: str, rows: int) -> list[Request]:
    """Return one request for each path."""
    rng = np.random.default_rng(rows)
    images = rng.random((rows, 64), dtype=np.float32)
    labels = rng.integers(0, 10, rows)
    made = []
    for path in PATHS:
        fields = {"images": images} | ({"labels": labels} if "losses" in path else {})
        if media_type == "json":
            body = json.dumps({name: array.tolist() for name, array in fields.items()}).encode()
        else:
            body = b"".join(map(as_npy, fields.values()))
        made.append(Request(path, f"application/{media_type}", body))
    return made


def as_npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def arrays(answer: Answer) -> list[Array]:
    if answer.media_type == "application/json":
        return [np.array(value) for value in json.loads(answer.body).values()]
    file, found = io.BytesIO(answer.body), []
    while file.tell() < len(answer.body):
        found.append(np.load(file))
    return found


def check(ports: list[int], asked: list[Request]) -> None:
    """Stop unless both give the same answers."""
    for request, *answers in zip(asked, *(ask_all(port, asked, 1) for port in ports)):
        if [answer.status for answer in answers] != [200, 200]:
            raise SystemExit(f"{request.path}: {answers}")
        for ours, theirs in zip(*map(arrays, answers)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=request.path)


def measure(port: int, asked: list[Request]) -> Array:
    """Return p50 and p99 in ms, and requests a second."""
    load = (asked * (REQUESTS // len(asked) + 1))[:REQUESTS]
    start = time.perf_counter()
    answers = ask_all(port, load, CLIENTS)
    rate = REQUESTS / (time.perf_counter() - start)
    if errors := [answer for answer in answers if answer.status != 200]:
        raise SystemExit(f"{len(errors)} errors, the first {errors[0]}")
    p50, p99 = np.percentile([1e3 * answer.seconds for answer in answers], (50, 99))
    return np.array([p50, p99, rate])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    rounds = parser.parse_args().rounds
    print(f"{machine.cpu()}, load {machine.load()}; {CLIENTS} clients, {REQUESTS} requests a round")
    print(f"{'':26}{'smoothxent':^26}{'SciPy':^26}{'smoothxent / SciPy':^26}")
    print(f"{'server':10}{'format':8}{'images':>8}" + f"{'p50 ms':>9}{'p99 ms':>8}{'req/s':>9}" * 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "digits.onnx"
        subprocess.run([sys.executable, EXAMPLES / "export_digits.py", model], check=True)
        for server in SERVERS:
            with contextlib.ExitStack() as stack:
                ready = requests("x-npy", 1)[0]
                ports = [
                    stack.enter_context(running(server, model, folder / f"{n}.log", ready, app))
                    for n, app in enumerate(APPS)
                ]
                for media_type, rows in LOADS:
                    asked = requests(media_type, rows)
                    check(ports, asked)
                    measured = np.array(
                        [[measure(port, asked) for port in ports] for _ in range(rounds + 1)]
                    )[1:]  # rounds, apps, figures; the first warms up
                    figures = [*np.median(measured, axis=0)]
                    figures.append(np.median(measured[:, 0] / measured[:, 1], axis=0))
                    cells = "".join(f"{a:9.2f}{b:8.2f}{c:9.0f}" for a, b, c in figures[:2])
                    cells += "".join(f"{a:9.2f}{b:8.2f}{c:9.2f}" for a, b, c in figures[2:])
                    print(f"{server:10}{media_type:8}{rows:8}{cells}", flush=True)


if __name__ == "__main__":
    main()
