"""Runs calls in which allocations fail, one after another; for test_out_of_memory.py.

    python without_memory.py GROUP COUNT ...

runs each call of the GROUP once for each of its allocations, each time in a child, with COUNT allocations
failing from that one on. Each must end with the right answer, or with a MemoryError and no output written.
Prints the number of runs for each end, for each call and COUNT, as JSON; and failures with the number of
the allocation.

To be run with failing_malloc.c preloaded and PYTHONMALLOC=malloc.
"""

import ctypes
import gc
import json
import os
import re
import sys
from collections import Counter

import ml_dtypes
import numpy as np

import smoothxent as sx
from children import WRONG, in_child
from smoothxent import _smoothxent as _native

allocator = ctypes.CDLL(None)

NO_MEMORY, ANSWER = 41, 42  # exit codes of a child that no library passes to exit()
KNOWN_ENDS = {NO_MEMORY: "MemoryError", ANSWER: "answer", WRONG: "wrong"}

rng = np.random.default_rng(0)
z = rng.normal(size=(20, 10)).astype(np.float32)
z_bfloat16 = z.astype(ml_dtypes.bfloat16)
labels = rng.integers(0, 10, 20)
uniform = np.full(10, 0.1)
many = rng.normal(size=(4000, 100)).astype(np.float32)
long = rng.normal(size=(4, 2**17)).astype(np.float32)  # each row is computed by one thread
longer = rng.normal(size=(3, 2**18)).astype(np.float32)  # two rows, each on two threads
slow = np.zeros((2, 2**22), np.float16)  # masked, on one thread: signals are polled meanwhile
one = np.ones(1, bool)
long[2, 5] = longer[1, 5] = np.inf  # special rows, which need more memory than the rows before them
hidden, weight = z[:, :4], z[:10, 4:8]
large_weight = rng.normal(size=(300, 64)).astype(np.float32)
many_labels = np.zeros(4000, np.uint8)
everything = {
    "label_smoothing": 0.1,
    "prior": uniform,
    "class_weight": uniform,
    "sample_weight": np.ones(20),
    "where": np.ones(10, bool),
    "temperature": 2.0,
    "z_loss": 1e-3,
}

# Each call gets new arrays that it may write. The calls of a group are made by one process.
CALLS = {
    "activations": {
        "softmax": lambda: sx.softmax(z),
        "softmax, out": lambda out: sx.softmax(z, out=out),
        "softmax, bfloat16": lambda: sx.softmax(z_bfloat16),
        "softmax, a list": lambda: sx.softmax([1.0, 2.0]),
        "softmax, 0 axes in a row": lambda: sx.softmax(z[0]),
        "softmax, dtype": lambda: sx.softmax(z, dtype="float64"),
        "softmax, overlap": lambda out: sx.softmax(out[:-1], out=out[1:]),
        "for 40 ms": lambda slow_out: sx.log_softmax(slow_out, where=one, out=slow_out),
        "softmax, all axes": lambda out: sx.softmax(z, axis=None, out=out),
        "softmax, axes apart": lambda out: sx.softmax(z.T, axis=None, out=out.T),
        "logsumexp of no classes": lambda: sx.logsumexp(z[:, :0]),
        "logsumexp": lambda: sx.logsumexp(z, keepdims=True),
        "top k": lambda: sx.top_k_log_softmax(z, 3, where=np.ones(10, bool)),
        "chosen classes": lambda: sx.log_softmax_at(z, labels[:, None]),
    },
    "losses": {
        "loss": lambda: sx.cross_entropy(z, labels, label_smoothing=0.1),
        "loss, out": lambda scalar: sx.cross_entropy(z, labels, out=scalar),
        "loss of each row": lambda: sx.cross_entropy(z, labels, reduction="none"),
        "loss, probabilities": lambda: sx.cross_entropy(z, np.full((20, 10), 0.1)),
        "loss, everything": lambda: sx.cross_entropy(z, labels, **everything),
        "gradient": lambda: sx.cross_entropy_value_and_grad(z, labels),
        "gradient, out": lambda scalar: sx.cross_entropy_value_and_grad(z, labels, out=scalar),
        "gradient in place": lambda out: sx.cross_entropy_value_and_grad(out, labels, grad_out=out),
        "gradient, everything": lambda out: sx.cross_entropy_value_and_grad(
            z, labels, grad_out=out, **everything
        ),
        "terms": lambda: sx.cross_entropy_terms(z, labels, prior=uniform),
    },
    "a layer with everything": {
        "gradients of a layer, everything": lambda: sx.linear_cross_entropy_value_and_grad(
            hidden, weight, labels, bias=uniform.astype(np.float32), **everything
        ),
    },
    "a layer on threads of the BLAS": {
        "loss of a layer": lambda: sx.linear_cross_entropy(
            many[:1000, :64], large_weight.astype(np.float16), many_labels[:1000]
        ),
    },
    "the rest": {
        "a refused label": lambda: refused(ValueError, sx.cross_entropy, z, labels + 100),
        "a refused shape of targets": lambda: refused(ValueError, sx.cross_entropy, z, labels[:7]),
        "a refused shape": lambda: refused(ValueError, sx.softmax, z, out=z[1:]),
        "a refused type": lambda: refused(TypeError, sx.softmax, "z"),
        "a refused axis": lambda: refused(ValueError, sx.softmax, z, axis=2),
        "a refused number": lambda: refused(ValueError, sx.softmax, z, temperature=-1.0),
        "a refused index": lambda: refused(ValueError, sx.log_softmax_at, z, labels[:, None] + 100),
        "a block of threads": lambda: sx.num_threads(1000)(sx.get_num_threads)(),
        # Not all of show_config: in files and in the module platform, Python itself raises other errors.
        "show_config": lambda: _native.show_config(),
    },
    "starting threads": {"starting threads": lambda large: sx.softmax(many, out=large)},
    "threads": {
        "rows on threads": lambda large: sx.softmax(many, out=large),
        "gradient on threads": lambda large: sx.cross_entropy_value_and_grad(
            large, many_labels, grad_out=large
        ),
        "long rows": lambda long_out: sx.softmax(long_out, out=long_out),
        "overlap of longer rows": lambda longer_out: sx.softmax(
            longer_out[:-1], out=longer_out[1:]
        ),
        "gradient, overlap of longer rows": lambda longer_out: sx.cross_entropy_value_and_grad(
            longer_out[:-1], [1, 2], grad_out=longer_out[1:]
        ),
        "gradient and losses, overlap of longer rows": lambda longer_out, two: (
            sx.cross_entropy_value_and_grad(
                longer_out[:-1], [1, 2], reduction="none", out=two, grad_out=longer_out[1:]
            )
        ),
        "top k of long rows": lambda long_out: sx.top_k_log_softmax(long_out, 5),
        "gradient of long rows": lambda long_out: sx.cross_entropy_value_and_grad(
            long_out, [1, 2, 3, 4], grad_out=long_out
        ),
    },
}
ARRAYS = {
    "out": z,
    "scalar": np.zeros(()),
    "two": np.zeros(2),
    "large": many,
    "long_out": long,
    "longer_out": longer,
    "slow_out": slow,
}


# Errors that other libraries raise instead of a MemoryError.
LOST = (
    # Python 3.11: from a Python function, without memory for the traceback.
    "SystemError: (?!.*built-in).*exception",
    # NumPy: sums, all() and the like, without memory for their iterator (NpyIter_AdvancedNew).
    "SystemError: <built-in method reduce of numpy.ufunc object at .*> returned NULL without setting an exception",
    # NumPy 2.5: the first operation on some types, without memory to list its loops (PyDict_Values).
    "TypeError: A loop/promoter has already been registered with ",
)


def refused(kind, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except MemoryError:
        raise
    except kind as error:
        return type(error).__name__, str(error)
    raise AssertionError("accepted")


def same(a, b):
    """Are two results equal to the bit? Large arrays are compared in place: new memory takes time."""
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if not isinstance(a, np.ndarray):
        return repr(a) == repr(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return allocator.memcmp(a.ctypes.data, b.ctypes.data, a.nbytes) == 0


def attempt(call, keys, first, count):
    """Runs `call` on new arrays. Returns its result, None after a MemoryError; and the number of allocations."""
    arrays = [ARRAYS[key].copy() for key in keys]
    pairs = [(number, None) for number in range(2000)]  # all that the interpreter keeps for later
    allocator.fail_mallocs(first, count)
    try:
        answer = call(*arrays)
    except MemoryError:
        answer = None
    except (SystemError, TypeError) as error:
        if not any(re.match(lost, f"{type(error).__name__}: {error}") for lost in LOST):
            raise
        answer = None
    finally:
        asked = stop()
        del pairs
    if answer is None:
        before = [ARRAYS[key] for key in keys]
        assert all(map(same, arrays, before)), "written to, and then an error"
    return answer, asked


def stop():
    while True:
        try:
            return allocator.stop_failing()
        except MemoryError:
            pass


def ends_of(name, call, counts):
    """The number of runs for each end, for each count."""
    keys = call.__code__.co_varnames[: call.__code__.co_argcount]
    on_threads = any(key in ("large", "long_out", "longer_out") for key in keys)

    def run(first, count):
        with sx.num_threads(4 if on_threads else 1):  # calls look it up, which needs memory
            if on_threads and name != "starting threads":
                sx.softmax(many)  # starts the threads
            return attempt(call, keys, first, count)

    # The first call of a process allocates more than later ones: for each child it is the first call.
    read, write = os.pipe()

    def without_failures():
        answer, asked = run(0, 0)
        assert answer is not None
        os.write(write, str(asked).encode())
        return 0

    assert in_child(without_failures) == 0
    asked = int(os.read(read, 100))
    os.close(read)
    os.close(write)

    def with_failures(first, count):
        answer, _ = run(first, count)
        if answer is None:
            return NO_MEMORY
        assert same(answer, run(0, 0)[0]), "another answer"
        return ANSWER

    def ends(count):
        how_many = Counter()
        for first in range(asked):
            end = in_child(lambda first=first: with_failures(first, count))
            how = KNOWN_ENDS.get(end, f"died: {end}")
            how_many[how] += 1
            if end not in (NO_MEMORY, ANSWER):
                sys.stderr.write(f"{name}: {how} at allocation {first} of {asked}\n")
        return how_many

    return [ends(count) for count in counts]


def main(group, counts):
    allocator.fail_mallocs.argtypes = ctypes.c_long, ctypes.c_long
    allocator.stop_failing.restype = ctypes.c_long
    allocator.memcmp.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
    gc.freeze()  # otherwise collections in the children would write to, and so copy, all objects of the parent
    print(json.dumps({name: ends_of(name, call, counts) for name, call in CALLS[group].items()}))


if __name__ == "__main__":
    main(sys.argv[1], [int(count) for count in sys.argv[2:]])
