"""Scaling of smoothxent.dask from one process to two on this machine, and a model of more.

    the same call on a cluster of one process and on one of two, in turns; a process has one thread
    logits that are in the memory of the workers, and logits that the tasks make first

    seconds(p) = W / p + S      W: processor time of the workers, S: that of scheduler and client, which p
                                does not change; both measured in the runs with one process

Run as `python -m benches.dask_scaling` with the extra `dask`, on an otherwise idle machine: wall times are
measured, too. Prints medians of the times and of the ratios of neighbouring runs.
"""

import argparse
import os
import time
from statistics import median

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import smoothxent.dask as sxd

CLASSES = 3 * 16384  # the size of a vocabulary, in whole segments
ROWS = 2048  # 403 MB
CHUNKS = {"rows": (256, CLASSES), "rows and classes": (768, 16384)}
MODELLED = (2, 4, 16, 64)


def random_logits(block_info=None):
    (first, last), (start, stop) = block_info[None]["array-location"]
    rng = np.random.default_rng((first, start))
    return rng.standard_normal((last - first, stop - start), np.float32) * 4


def loss_of(client, chunks, are_there):
    cut = da.core.normalize_chunks(chunks, (ROWS, CLASSES))
    meta = np.empty((0, 0), np.float32)
    logits = da.map_blocks(random_logits, chunks=cut, dtype=np.float32, meta=meta)
    labels = da.from_array(np.arange(ROWS), chunks=chunks[0])
    if are_there:
        with client.as_current():
            logits, labels = client.persist([logits, labels])
            wait([logits, labels])
    return sxd.cross_entropy(logits, labels, label_smoothing=0.1)


def timed(client, loss):
    """The loss, wall seconds, and processor seconds of the workers and of this process."""
    before, own = client.run(time.process_time), time.process_time()
    begin = time.perf_counter()
    value = client.compute(loss).result().item()
    seconds = time.perf_counter() - begin
    own = time.process_time() - own
    after = client.run(time.process_time)
    return value, seconds, sum(after[worker] - before[worker] for worker in after), own


def measure(chunks, are_there, repeat):
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    runs = {1: [], 2: []}
    with (
        LocalCluster(n_workers=1, **options) as one,
        LocalCluster(n_workers=2, **options) as two,
        Client(one, set_as_default=False) as client_of_one,
        Client(two, set_as_default=False) as client_of_two,
    ):
        clients = {1: client_of_one, 2: client_of_two}
        losses = {count: loss_of(clients[count], chunks, are_there) for count in clients}
        for _ in range(repeat + 1):
            for count, client in clients.items():
                runs[count].append(timed(client, losses[count]))
        tasks = len(dict(dask.optimize(losses[1])[0].__dask_graph__()))
    assert len({run[0] for of_count in runs.values() for run in of_count}) == 1, "other bits"
    return tasks, {count: of_count[1:] for count, of_count in runs.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=15)
    repeat = parser.parse_args().repeat
    os.environ["SMOOTHXENT_NUM_THREADS"] = "1"
    print(
        f"{ROWS} x {CLASSES} float32, milliseconds; load of this machine {os.getloadavg()[0]:.1f}"
    )
    for are_there in (True, False):
        for name, chunks in CHUNKS.items():
            tasks, runs = measure(chunks, are_there, repeat)
            one, two = ([1e3 * run[1] for run in runs[count]] for count in (1, 2))
            ratio = median(a / b for a, b in zip(one, two))
            work, own = (1e3 * median(run[place] for run in runs[1]) for place in (2, 3))
            where = "in memory" if are_there else "made by the tasks"
            print(f"chunks of {name} {chunks}, logits {where}, {tasks} tasks:")
            print(
                f"  clock: {median(one):.0f} on one process, {median(two):.0f} on two: {ratio:.2f}"
            )
            print(f"  processors: W = {work:.0f} workers, S = {own:.0f} scheduler and client")
            speeds = (f"{p}: {(work + own) / (work / p + own):.1f}" for p in MODELLED)
            print(f"  modelled speed-up: {', '.join(speeds)}")


if __name__ == "__main__":
    main()
