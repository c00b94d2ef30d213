"""Runs calls on many threads in address spaces of increasing size; for test_out_of_memory.py.

    python address_space.py THREADS

Each child may use the address space of this process and some more: at first a little, in the end what
all threads need. Each call must end with the right answer or with a MemoryError. Prints the number of
calls for each end, as JSON.
"""

import json
import resource
import sys
import warnings
from collections import Counter

import numpy as np

import smoothxent as sx
from children import WRONG, in_child

MIB = 1 << 20
STEPS = 60


def address_space():
    with open("/proc/self/statm") as sizes:
        return int(sizes.read().split()[0]) * resource.getpagesize()


def main(threads):
    warnings.simplefilter("ignore")  # about threads that could not be started
    sx.set_num_threads(threads)
    # Work for all threads with little memory for a child to copy: overlapping rows.
    rows = threads * 2**11
    z = np.lib.stride_tricks.sliding_window_view(np.sin(np.arange(rows + 63, dtype=np.float32)), 64)
    with sx.num_threads(1):
        expected = sx.logsumexp(z)
    out = np.zeros(rows, np.float32)

    def call(room):
        unlimited = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + room, unlimited[1]))
        try:
            sx.logsumexp(z, out=out)
        except MemoryError:
            return 1
        finally:
            resource.setrlimit(resource.RLIMIT_AS, unlimited)
        assert (out == expected).all()
        return 2 + min(sx.show_config("dicts")["threads"]["started"], 90)

    most = threads * 12 * MIB + 64 * MIB
    ends = Counter()
    for step in range(STEPS):
        end = in_child(lambda room=step * most // STEPS: call(room))
        how = {1: "MemoryError", WRONG: "wrong"}.get(end, f"{end - 2} started")
        ends[how if 0 <= end < 100 else f"died: {end}"] += 1
    print(json.dumps(ends))


if __name__ == "__main__":
    main(int(sys.argv[1]))
