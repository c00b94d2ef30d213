"""The end of the interpreter while calls are running: nothing is printed, and nothing hangs."""

import os
import subprocess
import sys

import pytest

WATCHDOG = 120  # seconds; each case takes a few

# Children of one process that has imported, each of which exits while daemon threads are in calls. At the end of
# a child, garbage collection would copy the memory shared with the parent, which would take most of the time.
DAEMONS = """
import gc, os, sys, threading, time
from fractions import Fraction
import numpy as np
import smoothxent as sx

sx.set_num_threads(1)  # it is the calling thread that looks for signals
rows = np.broadcast_to(np.float32(0), (2**20, 2**16))
labels = np.zeros(2**20, np.uint8)
z = np.zeros((2, 3))
running = []

def work():
    {work}

gc.freeze()
for _ in range({exits}):
    child = os.fork()
    if child == 0:
        for _ in range({threads}):
            threading.Thread(target=work, daemon=True).start()
        time.sleep({seconds})
        sys.exit(3)
    running.append(child)
    if len(running) == 2:
        assert os.waitstatus_to_exitcode(os.waitpid(running.pop(0), 0)[1]) == 3
for child in running:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
"""

# Calls that run Python code: for arguments other than arrays, for several axes, and for errors.
PYTHON_CODE = [
    "sx.softmax([1.0, 2.0])",
    "sx.softmax([[1, 2]], axis=None)",
    "sx.softmax(z, out=np.matrix(z))",
    "sx.softmax(z.astype('>f8'))",
    "sx.softmax(z, temperature=Fraction(2))",
    "sx.log_softmax_at(np.ones((1, 2), int), [[0]])",
    """try: sx.cross_entropy(z, np.array([5, 0]))
        except sx.LabelError: pass""",
    """try: sx.softmax(z, dtype=np.int64)
        except TypeError: pass""",
]

# A daemon thread that is in Python code called by the extension, without the interpreter lock, when the
# interpreter ends. The end takes a moment.
IN_PYTHON_CODE = """
import sys, threading, time
import numpy as np
import smoothxent as sx

class Last:
    def __init__(self):
        self.sleep = time.sleep

    def __del__(self):
        self.sleep(1)

class Axis:
    def __getattr__(self, name):
        reach()

def reach(reached=threading.Event(), sleep=time.sleep):
    reached.set()
    sleep(0.5)

def profile(frame, event, argument, reach=reach):
    if event == "call" and frame.f_code.co_name == "ident" and running:
        reach()

def work():
    running.append(True)
    {work}

sys.last = Last()
running, z = [], np.broadcast_to(np.float32(0), (2**16, 2**16))
sx.set_num_threads(1)
threading.setprofile(profile)
threading.Thread(target=work, daemon=True).start()
reach.__defaults__[0].wait()
"""

# A long call by the thread that ends the interpreter, from a destructor.
DESTRUCTOR = """
import numpy as np
import smoothxent as sx

class Last:
    def __init__(self):
        self.call = sx.cross_entropy
        self.rows = np.broadcast_to(np.float32(0), (2**11, 2**16))
        self.labels = np.zeros(2**11, np.uint8)
        self.right = sx.cross_entropy(self.rows[0], 0)

    def __del__(self):
        print(abs(self.call(self.rows, self.labels) - self.right) < 1e-5)

last = Last()
"""

# The same with a label that is refused.
REFUSED = """
import numpy as np
import smoothxent as sx

class Last:
    def __init__(self):
        self.call, self.error, self.rows, self.labels = sx.cross_entropy, sx.LabelError, np.zeros((1, 2)), np.array([7])

    def __del__(self):
        try:
            self.call(self.rows, self.labels)
        except self.error as error:
            print(error.value)

last = Last()
"""


def run(script):
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=WATCHDOG
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_daemon_threads_in_calls():
    work = "sx.cross_entropy(rows, labels)"
    ended = run(DAEMONS.format(exits=200, threads=1, work=work, seconds=0.002))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("call", PYTHON_CODE)
def test_daemon_threads_in_python_code_of_calls(call):
    """CPython before 3.14 ends these threads by unwinding their stack, even where Rust calls Python code."""
    work = f"while True:\n        {call}"
    ended = run(DAEMONS.format(exits=10, threads=4, work=work, seconds=0.02))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("call", ["sx.logsumexp(z)", "sx.logsumexp(z, axis=Axis())"])
def test_daemon_threads_in_attributes_that_python_code_computes(call):
    ended = run(IN_PYTHON_CODE.format(work=call))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_call_while_the_interpreter_ends():
    ended = run(DESTRUCTOR)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "True\n", "")


def test_an_error_while_the_interpreter_ends():
    ended = run(REFUSED)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "7\n", "")
