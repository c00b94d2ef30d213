"""Ctrl-C is answered in the middle of a long call, and the package is usable afterwards."""

import itertools
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import smoothxent as sx
from test_signals import assert_within_promise, late, rising

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the system has no signals to send")

# The logits are one row repeated 2^22 times by a stride of 0: no memory, and 5 * 10^11 exponentials.
# That takes minutes on any machine of today, so a call that does not answer is stopped by the
# watchdog. Reading so many labels takes much less time than passes before the signal.
SCRIPT = """
import os, signal, threading
import numpy as np
import smoothxent as sx

sx.set_num_threads({threads})
row = np.linspace(-1, 1, 2**17, dtype=np.float32)
labels = np.zeros(2**22, np.uint8)
small = sx.cross_entropy(row, 0)
for _ in range(3):
    press = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    try:
        press.start()
        sx.cross_entropy(np.broadcast_to(row, (2**22, 2**17)), labels, {options})
        print("the call ended")
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
    press.join()
    assert sx.cross_entropy(row, 0) == small
"""

WATCHDOG = 60  # seconds


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", ["", "label_smoothing=0.1, reduction='none'"])
def test_ctrl_c(threads, options):
    script = textwrap.dedent(SCRIPT).format(threads=threads, options=options)
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WATCHDOG
    )
    assert (run.returncode, run.stdout) == (0, "KeyboardInterrupt\n" * 3), run.stderr


def test_ctrl_c_while_the_message_of_an_error_is_written():
    script = """
import signal
import smoothxent as sx

signal.signal(signal.SIGALRM, signal.default_int_handler)
try:
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        sx.cross_entropy([[1.0]], [0], reduction=bytes(2**26))  # its repr takes longer
    except ValueError:
        for _ in range(10): pass  # here Python runs handlers
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WATCHDOG
    )
    assert (run.returncode, run.stdout) == (0, "KeyboardInterrupt\n"), run.stderr[:1000]


def test_handler_of_the_program_runs_during_the_call():
    """A signal handler that raises an exception of its own ends the call with that exception."""
    script = """
import signal
import numpy as np
import smoothxent as sx

class Alarm(Exception):
    pass

def ring(signum, frame):
    raise Alarm

signal.signal(signal.SIGALRM, ring)
try:
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    sx.cross_entropy(np.broadcast_to(np.float32(0), (2**24, 2**17)), np.zeros(2**24, np.uint8))
except Alarm:
    print("Alarm")
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WATCHDOG
    )
    assert (run.returncode, run.stdout) == (0, "Alarm\n"), run.stderr


def test_calls_in_a_loop_that_is_no_python_code():
    """The interpreter runs no handler between them, and they are too short for polls: each begins with one."""
    script = """
import collections, itertools, operator, signal
import numpy as np
import smoothxent as sx

def ring(signum, frame):
    raise KeyError

arguments = itertools.repeat(np.zeros((65, 1024), np.float32), 20_000)
signal.signal(signal.SIGALRM, ring)
try:
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    collections.deque(map(sx.logsumexp, arguments), 0)
except KeyError:
    print("calls are left" if operator.length_hint(arguments) else "all calls were made")
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WATCHDOG
    )
    assert (run.returncode, run.stdout) == (0, "calls are left\n"), run.stderr


CALLS = [
    "softmax(z, out=out)",
    "top_k_log_softmax(z, 2**24)",
    "log_softmax_at(z, np.broadcast_to(np.int8(1), 2**27))",
    "cross_entropy_value_and_grad(z, 0, label_smoothing=0.1, prior=u, where=kept, grad_out=out)",
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_within_one_enormous_row(threads, dtype):
    """A row of 2^26 classes takes a second or more at this level: its end is not reached."""
    script = f"""
import os, signal, threading, time
import numpy as np
import smoothxent as sx

sx.set_num_threads({threads})
z = np.zeros(2**26, np.{dtype})
out = np.empty_like(z)
out[-1] = 7.0
u = np.broadcast_to(np.float32(2**-26), z.shape)
kept = np.broadcast_to(True, z.shape)
for call in [{", ".join(f"lambda: sx.{call}" for call in CALLS)}]:
    press = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    try:
        press.start()
        call()
    except KeyboardInterrupt:
        print("KeyboardInterrupt", out[-1])
    press.join()
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"SMOOTHXENT_MAX_ISA": "portable"},
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
    )
    assert (run.returncode, run.stdout) == (0, "KeyboardInterrupt 7.0\n" * len(CALLS)), run.stderr


def test_a_row_that_is_sorted_by_one_thread():
    """A call that is interrupted before it has read most of the classes does not sort the others."""
    z = rising(1, 2**24)
    with sx.num_threads(1):
        assert_within_promise(lambda: late(lambda: sx.top_k_log_softmax(z, z.size), 0.03))


def test_while_masks_of_long_rows_are_read():
    """Their elements count, not only the rows. These overlap, so they take no memory."""
    where = np.lib.stride_tricks.sliding_window_view(np.ones(2**19, bool), 2**18)[:20_000, ::2]
    z, labels = np.broadcast_to(np.float32(0), where.shape), np.zeros(len(where), int)
    with sx.num_threads(1):
        assert_within_promise(lambda: late(lambda: sx.cross_entropy(z, labels, where=where), 0.03))


class Label:
    """An integer by its `__index__` method."""

    def __index__(self):
        return -1


def native_float32():
    """A dtype that equals NumPy's own but is another object, so that Python code reads its name."""
    return np.dtype(np.float32).newbyteorder("S").newbyteorder("S")


SHORT_CALLS = {
    "lists": lambda: sx.cross_entropy([[1.0, 2.0]], [1], reduction="none"),
    "an output of a dtype object of its own": lambda: sx.softmax(
        np.zeros((2, 3), np.float32), out=np.empty((2, 3), native_float32())
    ),
    "an integer": lambda: sx.cross_entropy(np.zeros((2, 3)), [1, 2], ignore_index=Label()),
    # NumPy reads it in Python code. Before NumPy 2.4 it discards what a `dtype` attribute raises.
    "dtype=": lambda: sx.log_softmax(np.zeros((2, 3)), dtype="()f4"),
}


def is_interrupted(call, place):
    """Tell whether an interrupt in the `place`-th Python function of the call ends it; False if there are fewer."""
    functions = itertools.count()

    def interrupt(*_):
        if next(functions) == place:
            raise KeyboardInterrupt

    sys.settrace(interrupt)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    assert next(functions) <= place
    return False


@pytest.mark.parametrize("call", SHORT_CALLS.values(), ids=SHORT_CALLS)
def test_in_each_function_of_python(call):
    """Wherever the interpreter runs a signal handler, the call raises the exception of the handler."""
    functions = next(place for place in itertools.count() if not is_interrupted(call, place))
    assert functions > 1  # those of NumPy, and the call itself
