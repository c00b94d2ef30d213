"""smoothxent.dask on a cluster of processes, one of which is killed while it works."""

import os
import signal
import time
from collections import Counter

import dask.array as da
import numpy as np
import pytest
from dask_problems import SEGMENT, TWO
from distributed import Client, LocalCluster

import smoothxent as sx
import smoothxent.dask as sxd
from ulp import assert_same_bits, assert_within

CLASSES = 3 * SEGMENT + 1000
ROWS = 48
WORKERS = 3
SECONDS = 120  # timeout for what takes one or two


@pytest.fixture(scope="module")
def client():
    cluster = LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, Client(cluster) as client:
        yield client


def logits_of_rows(first, count):
    rng = np.random.default_rng(first)
    return (rng.normal(size=(count, CLASSES)) * 5).astype(np.float32)


def made_slowly(folder, block_info=None):
    """A chunk of the logits; a file records that it was made."""
    (first, last), (start, stop) = block_info[None]["array-location"]
    time.sleep(0.1)
    (folder / f"{first}-{start}-{os.getpid()}").touch()
    return logits_of_rows(first, last - first)[:, start:stop]


def problem(folder, rows, classes):
    """Logits in chunks that are made by the tasks that need them, the same logits in one array, labels and a prior."""
    chunks = (rows, classes)
    whole = np.concatenate([logits_of_rows(first, rows) for first in range(0, ROWS, rows)])
    chunks = da.core.normalize_chunks(chunks, whole.shape)
    meta = np.empty((0, 0), np.float32)
    z = da.map_blocks(made_slowly, folder, chunks=chunks, dtype=np.float32, meta=meta)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, CLASSES, ROWS)
    labels[5] = -100
    prior = rng.exponential(size=CLASSES)
    return z, whole, labels, prior / prior.sum()


def kill_one(client, folder, after):
    """Kill the worker that has made the most chunks, by SIGKILL, once `after` chunks have been made."""
    deadline = time.monotonic() + SECONDS
    while len(list(folder.iterdir())) < after:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    made = Counter(int(file.name.split("-")[-1]) for file in folder.iterdir())
    killed = max(made.keys() & set(client.run(os.getpid).values()), key=made.__getitem__)
    os.kill(killed, signal.SIGKILL)
    return killed


@pytest.mark.parametrize(
    "rows, classes", [(2, -1), (12, SEGMENT), (12, SEGMENT + 1)], ids=["rows", "segments", "any"]
)
def test_a_worker_is_killed(client, tmp_path, rows, classes):
    z, whole, labels, prior = problem(tmp_path, rows, classes)
    y = da.from_array(labels, chunks=rows)
    options = {"label_smoothing": 0.1, "prior": prior}
    lazily = [
        sxd.cross_entropy(z, y, **options),
        sxd.cross_entropy(z, y, reduction="none", **options),
        sxd.log_softmax(z),
        sxd.logsumexp(z),
    ]
    results = client.compute(lazily)
    killed = kill_one(client, tmp_path, after=z.npartitions // 2)
    assert not all(result.done() for result in results)  # it had work to do
    loss, losses, log_p, lse = client.gather(results)
    assert killed not in client.run(os.getpid).values()
    mean = np.asarray(sx.cross_entropy(whole, labels, **options))
    expected = sx.cross_entropy(whole, labels, reduction="none", **options)
    if classes == SEGMENT + 1:
        assert_within(TWO, np.float32(loss), np.float32(mean))
        assert_within(TWO, losses, expected)
        assert_within(TWO, log_p, sx.log_softmax(whole))
        assert_within(TWO, lse, sx.logsumexp(whole))
    else:
        assert_same_bits(loss, mean)
        assert_same_bits(losses, expected)
        assert_same_bits(log_p, sx.log_softmax(whole))
        assert_same_bits(lse, sx.logsumexp(whole))


def test_a_bad_label_is_an_error_of_the_caller(client):
    labels = np.zeros(8, np.int64)
    labels[6] = 10
    z = da.zeros((8, 10), chunks=(4, 5))
    loss = sxd.cross_entropy(z, da.from_array(labels, chunks=4))
    with pytest.raises(sx.LabelError, match=r"targets\[6\] is 10, but there are 10 classes"):
        client.compute(loss).result()
