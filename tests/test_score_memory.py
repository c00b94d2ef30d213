"""score of a file of 2.2 GB needs no private memory of that size, only the pages of the file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MOST = 200  # MB of private memory: the interpreter, NumPy, and the results for the rows of a chunk

# A sparse file of 2.2 GB, more bytes than 2^31: only a few rows are on the disk, the others are zeros.
SCRIPT = """
import json, math, mmap, os
import numpy as np
import smoothxent as sx

def private():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))

rows, classes = 550_000, 1000
z = np.lib.format.open_memmap("z.npy", "w+", np.float32, (rows, classes))
np.save("y.npy", np.arange(rows) % classes)
others = np.arange(0, rows, 49_999)
z[others, others % classes] = 20
del z
z, y = np.load("z.npy", mmap_mode="r"), np.load("y.npy", mmap_mode="r")
most = []
file = os.open("z.npy", os.O_RDONLY)

def on_chunk(score, row):
    most.append(private())
    if len(most) % 8 == 0 and hasattr(os, "posix_fadvise"):
        # What the system does with pages of files when it has no more: to fill 2.2 GB takes longer.
        z.base.madvise(mmap.MADV_DONTNEED)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)

score = sx.score(z, y, label_smoothing=0.1, on_chunk=on_chunk)

other, same = sx.cross_entropy(z[:2], y[:2], label_smoothing=0.1, reduction="none").tolist()
mean = math.fsum([same] * (rows - len(others)) + [other] * len(others)) / rows
assert math.isclose(score.loss, mean, rel_tol=1e-14), (score, mean)
assert score.rows == rows and abs(score.accuracy - (0.001 + len(others) / rows)) < 1e-5, score
print(json.dumps([z.nbytes, max(most), len(most)]))
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell a process its memory"
)
def test_private_memory(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    size, private, chunks = json.loads(run.stdout)
    assert size == 2_200_000_000
    assert chunks > 100
    assert private < MOST * 10**6
