"""No element outside of an array is read or written, in a process for each instruction set.

Each array ends at a protected page, or begins after one: an access out of bounds ends the process.
Rows written into the middle of an array leave the others unchanged.
"""

import ctypes
import functools
import itertools
import mmap
import sys

import numpy as np
import pytest

import smoothxent as sx
from test_levels import SIMD, python

# Near the sizes of lanes (8, 16), tiles (up to 64 classes) and quads of vectors (32, 64).
CLASSES = (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129)
ROWS = (1, 7, 8, 15, 16, 17, 33, 69)
UNTOUCHED = 77


@functools.cache
def mprotect():
    return ctypes.CDLL(None).mprotect


def guarded(shape, dtype, at_end, order):
    """An array of ones beside a protected page."""
    page = mmap.PAGESIZE
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    pages = -(-size // page) * page
    memory = mmap.mmap(-1, pages + 2 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (base, base + page + pages):
        assert mprotect()(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    start = page + pages - size if at_end else page
    array = np.frombuffer(memory, np.uint8, size, start).view(dtype).reshape(shape, order=order)
    array[...] = 1
    return array


def calls(z, out):
    """Every operation on the rows `z`, with results of their shape written to `out`."""
    labels = np.arange(len(z)) % z.shape[1]
    options = {"label_smoothing": 0.1, "reduction": "none"}
    yield lambda: sx.softmax(z, out=out)
    yield lambda: sx.log_softmax(z, out=out)
    yield lambda: sx.logsumexp(z)
    yield lambda: sx.top_k_log_softmax(z, min(3, z.shape[1]))
    yield lambda: sx.log_softmax_at(z, labels[:, None])
    yield lambda: sx.cross_entropy(z, labels, **options)
    yield lambda: sx.cross_entropy_value_and_grad(z, labels, grad_out=out, **options)


def touch_nothing_else():
    both = (False, True)
    for dtype, order, at_end in itertools.product((np.float32, np.float64), "CF", both):
        for rows, classes in itertools.product(ROWS, CLASSES):
            z = guarded((rows, classes), dtype, at_end, order)
            z[...] = np.sin(np.arange(z.size)).reshape(z.shape)
            whole = guarded(z.shape, dtype, not at_end, order)
            other = guarded(z.shape, dtype, at_end, "F" if order == "C" else "C")
            large = guarded((rows + 2, classes), dtype, at_end, order)
            large[[0, -1]] = UNTOUCHED
            for out in (whole, other, large[1:-1], z):
                for call in calls(z, out):
                    call()
            assert (large[[0, -1]] == UNTOUCHED).all(), (dtype, order, rows, classes)


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="the system has no mprotect")
@pytest.mark.parametrize("level", SIMD["available"])
def test_nothing_outside_of_an_array_is_touched(level):
    process = python(level, __file__)
    assert process.returncode == 0, process.stderr


if __name__ == "__main__":
    sys.exit(touch_nothing_else())
