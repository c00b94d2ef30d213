"""fork works: before the first use, after it, from the middle of a call, twice over, and by
multiprocessing.

A child inherits the memory of a pool but none of its threads; a library that trusts the memory
waits for ever. Each case is a process of its own with a watchdog, so that a hang is a failure and
not a hang of the tests.
"""

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
item = large_problem(rows=3000)

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
"""

SCENARIOS = {
    "fork after use": """
        expected = digest([item])
        for _ in range(5):
            assert in_child(lambda: digest([item]) == expected)
        assert digest([item]) == expected
    """,
    "fork before use": """
        read, write = os.pipe()
        def child():
            os.write(write, digest([item]).encode())
            return True
        assert in_child(child)
        assert os.read(read, 1000).decode() == digest([item])
    """,
    "grandchild": """
        expected = digest([item])
        def child():
            def grandchild():
                return digest([item]) == expected
            return in_child(grandchild) and digest([item]) == expected and in_child(grandchild)
        assert in_child(child)
    """,
    "the child keeps the number of threads and may change it": """
        expected = digest([item])
        def child():
            kept = sx.get_num_threads() == 2
            sx.set_num_threads(3)
            return kept and digest([item]) == expected and sx.get_num_threads() == 3
        assert in_child(child)
        assert sx.get_num_threads() == 2
    """,
    "fork while other threads compute": """
        import threading
        expected = digest([item])
        stop = threading.Event()
        def compute():
            while not stop.is_set():
                sx.softmax(item.logits)
        threads = [threading.Thread(target=compute) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                assert in_child(lambda: digest([item]) == expected)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    """,
    "multiprocessing.Pool": """
        import multiprocessing
        expected = digest([item])
        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert set(pool.map(digest, [[item]] * 6)) == {expected}
        assert digest([item]) == expected
    """,
    "concurrent.futures.ProcessPoolExecutor": """
        import concurrent.futures, multiprocessing
        expected = digest([item])
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            assert set(pool.map(digest, [[item]] * 4)) == {expected}
    """,
    "a child made outside Python": """
        import ctypes
        libc = ctypes.PyDLL(None)  # keeps the interpreter's lock; Python's hooks do not run
        expected = digest([item])
        child = libc.fork()
        if child == 0:
            os._exit(0 if digest([item]) == expected else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """,
}


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
