"""fork works: before the first use, after it, while other threads compute, twice, and by
multiprocessing. In a child that a signal handler forks during a call, that call ends.

A child inherits the memory of a pool but none of its threads; a library that relied on this memory
would wait for ever. Each case is a separate process with a watchdog, so that a hang is a failure
and does not block the tests.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

WATCHDOG = 120  # seconds; each case takes about one

PRELUDE = """
import os, sys
import numpy as np
import smoothxent as sx
from digest import digest, large_problem

sx.set_num_threads(2)
item = large_problem(rows=150)  # enough for a second thread

def in_child(function):
    "Run function in a forked child; True if it returned true there."
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = function()
        finally:
            os._exit(0 if ok else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def answer():
    "A digest of all results, which took more than one thread."
    result = digest([item])
    assert sx.show_config("dicts")["threads"]["started"] >= 1
    return result

def answer_of_a_child():
    "The same in a child, which has not started a thread before."
    assert sx.show_config("dicts")["threads"]["started"] == 0
    return answer()

def gradient():
    "The bits of one result, which took more than one thread."
    _, result = sx.cross_entropy_value_and_grad(item.logits, item.labels)
    assert sx.show_config("dicts")["threads"]["started"] >= 1
    return result.tobytes()
"""

SCENARIOS = {
    "fork after use": """
        expected = answer()
        for _ in range(5):
            assert in_child(lambda: answer_of_a_child() == expected)
        assert answer() == expected
    """,
    "fork before use": """
        read, write = os.pipe()
        def child():
            os.write(write, answer().encode())
            return True
        assert in_child(child)
        assert os.read(read, 1000).decode() == answer()
    """,
    "grandchild": """
        expected = answer()
        def child():
            def grandchild():
                return answer() == expected
            return in_child(grandchild) and answer() == expected and in_child(grandchild)
        assert in_child(child)
    """,
    "the child keeps the number of threads and may change it": """
        expected = answer()
        def child():
            kept = sx.get_num_threads() == 2
            sx.set_num_threads(3)
            return kept and answer() == expected and sx.get_num_threads() == 3
        assert in_child(child)
        assert sx.get_num_threads() == 2
    """,
    "fork while other threads compute": """
        import threading
        expected = gradient()
        stop = threading.Event()
        large = large_problem().logits
        def compute():
            while not stop.is_set():
                sx.softmax(large)
        threads = [threading.Thread(target=compute) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                assert in_child(lambda: gradient() == expected)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    """,
    "multiprocessing.Pool": """
        import multiprocessing
        expected = answer()
        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert set(pool.map(digest, [[item]] * 6)) == {expected}
        assert answer() == expected
    """,
    "concurrent.futures.ProcessPoolExecutor": """
        import concurrent.futures, multiprocessing
        expected = answer()
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            assert set(pool.map(digest, [[item]] * 4)) == {expected}
    """,
    "a child made outside Python": """
        import ctypes
        libc = ctypes.PyDLL(None)  # keeps the interpreter's lock; Python's hooks do not run
        expected = answer()
        child = libc.fork()
        if child == 0:
            os._exit(0 if answer_of_a_child() == expected else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """,
}

# A call that takes two seconds of processors; its handler forks, and the child leaves the handler.
IN_HANDLER = """
import signal, time

row = np.linspace(-1, 1, 2**16, dtype=np.float32)
rows = np.broadcast_to(row, (1000, 2**16))
labels = np.zeros(len(rows), np.uint8)
sx.cross_entropy(rows[:100], labels[:100])  # the helper is there
start = time.process_time()
sx.cross_entropy(rows, labels)  # 16 ms with AVX-512, 800 ms without vector instructions
rows = np.broadcast_to(row, (int(2000 / (time.process_time() - start)), 2**16))
labels = np.zeros(len(rows), np.uint8)
child = None

def handler(signum, frame):
    global child
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)  # ends a child that hangs
        {leave}

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    got = sx.cross_entropy(rows, labels)
    ended = "the call returned"
except BaseException as error:
    ended = repr(error)
if child == 0:
    small = np.broadcast_to(row, (100, 2**16))
    assert abs(sx.cross_entropy(small, labels[:100]) - sx.cross_entropy(row, 0)) < 1e-5
    os._exit(0 if {right} else print(ended, flush=True) or 1)
assert child and ended == "the call returned", ended
assert abs(got - sx.cross_entropy(row, 0)) < 1e-5
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert status == 0, status
"""


def handler_that(leave, right):
    """A script whose child leaves the handler in this way; `right` is how the call may end in the child."""
    return IN_HANDLER.format(leave=leave, right=right)


LOST = """ended.startswith("RuntimeError('this process was forked while")"""

SCENARIOS |= {
    "fork in a handler, and return": handler_that("return", LOST),
    "fork outside Python in a handler, and return": handler_that("return", LOST).replace(
        "os.fork()", "__import__('ctypes').PyDLL(None).fork()"
    ),
    "fork in a handler, and raise": handler_that(
        "raise KeyError('mine')", """ended == "KeyError('mine')" """
    ),
    "fork in a handler, and exit": handler_that("sys.exit(3)", 'ended == "SystemExit(3)"'),
    "fork in a handler of a call on one thread": handler_that(
        "return", """ended == "the call returned" and got == sx.cross_entropy(rows, labels)"""
    ).replace("import signal", "sx.set_num_threads(1)\nimport signal"),
}

SCENARIOS["fork in a handler of a call of minutes, and return"] = """
    import signal

    row = np.linspace(-1, 1, 2**16, dtype=np.float32)
    rows = np.broadcast_to(row, (2**22, 2**16))
    labels = np.zeros(len(rows), np.uint8)
    sx.cross_entropy(rows[:100], labels[:100])  # the helper is there

    def handler(signum, frame):
        global child
        child = os.fork()
        if child:
            raise KeyError
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)  # ends a child that goes on with the call

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        sx.cross_entropy(rows, labels)
    except (KeyError, RuntimeError) as error:
        ended = error
    if child == 0:
        os._exit(0 if isinstance(ended, RuntimeError) else 1)
    assert isinstance(ended, KeyError)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.parametrize("name", SCENARIOS)
def test_fork(name):
    script = PRELUDE + textwrap.dedent(SCENARIOS[name]) + "\nprint('passed')\n"
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
    )
    assert (run.returncode, run.stdout) == (0, "passed\n"), run.stderr


FIRST_USES = {
    "softmax": "sx.softmax(z)",
    "float16": "sx.softmax(z.astype(np.float16))",
    "float64": "sx.softmax(z.astype(np.float64))",
    "bfloat16": "sx.softmax(z.astype(ml_dtypes.bfloat16))",
    "a list": "sx.softmax([1, 2])",
    "no axes in a row": "sx.softmax(z, out=np.empty_like(z).view(Subclass))",
    "dtype": "sx.softmax(z, dtype='float64')",
    "overlap": "sx.softmax(z[1:], out=z[:-1])",
    "a mask": "sx.softmax(z, where=[True] * 10)",
    "keepdims": "sx.logsumexp(z, keepdims=np.True_)",
    "labels": "sx.cross_entropy(z, labels)",
    "a list of labels": "sx.cross_entropy(z, labels.tolist(), prior=[0.1] * 10, label_smoothing=0.1)",
    "a scalar": "sx.cross_entropy(z, labels, out=np.zeros(()))",
    "gradient": "sx.cross_entropy_value_and_grad(z, labels)",
    "terms": "sx.cross_entropy_terms(z, labels)",
    "a bad axis": "refused(sx.softmax, z, axis=2)",
    "a bad label": "refused(sx.cross_entropy, z, labels + 10)",
    "a bad out": "refused(sx.softmax, z, out=labels)",
    "threads": "sx.set_num_threads(sx.get_num_threads())",
    "a block of threads": "sx.num_threads(2)(sx.softmax)(z.repeat(1000, 0))",
}

# Another thread makes its first call, the parent forks during each import in it, and the child makes the same
# call, also for the first time. Each case is a child of one process, which has imported all and made no call.
FIRST_USE = """
import builtins, json, os, queue, signal, sys, threading
import ml_dtypes
import numpy as np
import smoothxent as sx
from children import in_child

class Subclass(np.ndarray):
    pass

def refused(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except (TypeError, ValueError):
        return
    raise AssertionError("accepted")

z = np.sin(np.arange(200, dtype=np.float32)).reshape(20, 10)
labels = np.arange(20) % 10
plain_import = builtins.__import__

def forks_inside(code):
    events, answers = queue.SimpleQueue(), queue.SimpleQueue()

    def thread_body():
        eval(code)
        events.put("done")

    def asking_import(*arguments, **options):
        if threading.current_thread() is thread:
            events.put("import")
            answers.get()
        return plain_import(*arguments, **options)

    def call():
        builtins.__import__ = plain_import
        signal.alarm(5)
        eval(code)
        return 0

    builtins.__import__ = asking_import
    thread = threading.Thread(target=thread_body, daemon=True)
    thread.start()
    event = None
    while event != "done":
        event = events.get(timeout=20)
        assert in_child(call) == 0
        answers.put(None)
    return 0

for name, call in json.load(sys.stdin).items():
    code = compile(call, name, "eval")
    print(in_child(lambda: forks_inside(code)), name, flush=True)
"""


def test_fork_inside_the_first_call_of_another_thread():
    run = subprocess.run(
        [sys.executable, "-c", FIRST_USE],
        input=json.dumps(FIRST_USES),
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"0 {name}" for name in FIRST_USES], run.stderr
