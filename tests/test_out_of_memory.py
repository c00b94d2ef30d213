"""Without memory, a call ends with the right answer, or with a MemoryError and no output written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from without_memory import CALLS

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION").lower(),
    reason="the allocator that fails is made for glibc",
)


@pytest.fixture(scope="session")
def allocator(tmp_path_factory):
    library = tmp_path_factory.mktemp("allocator") / "failing_malloc.so"
    compiler = os.environ.get("CC", "cc")
    source = HERE / "failing_malloc.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
    return library


def run(script, *arguments, **environment):
    """The JSON that the script prints, and its stderr."""
    process = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=HERE,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout), process.stderr


def deaths(ends):
    return sum(count for end, count in ends.items() if end.startswith("died"))


def explained_deaths(errors, texts):
    """How many children died after one of these texts on stderr; some print several."""
    said = errors.split(": died: ")[:-1]
    return sum(re.search("|".join(texts), one) is not None for one in said)


# Where other libraries end the process because they have no memory, by their text on stderr.
FATAL_ELSEWHERE = (
    # CPython, in ContextVar.set (PyContextVar_Set): no memory for the token, and then none for the value.
    r'Segmentation fault\n\n.*\n  File ".*/_threads\.py", line \d+ in _block',
    r'Segmentation fault\n\n.*\n  File ".*/numpy/.*/_ufunc_config\.py", line \d+ in __enter__',  # numpy.errstate
    # OpenBLAS: a list of what each thread does; exit(1). Small products are made on one thread, without it.
    "OpenBLAS: malloc failed in gemm_driver",
    # glibc, for OpenBLAS: its thread-local data, when a thread makes its first product (0.3.34).
    "cannot allocate memory for thread-local data",
)


@pytest.mark.parametrize("group", [group for group in CALLS if group != "starting threads"])
def test_allocations_that_fail(allocator, group):
    """Each allocation of a call in turn, alone and with those after it."""
    all_ends, errors = run(
        "without_memory.py",
        group,
        1,
        40,
        LD_PRELOAD=str(allocator),
        PYTHONMALLOC="malloc",
        PYTHONFAULTHANDLER="1",
        OPENBLAS_NUM_THREADS="2" if group == "a layer on threads of the BLAS" else "1",
    )
    assert all_ends.keys() == CALLS[group].keys()
    died = sum(deaths(ends) for both in all_ends.values() for ends in both)
    assert explained_deaths(errors, FATAL_ELSEWHERE) == died, errors
    for name, both in all_ends.items():
        for ends in both:
            assert "wrong" not in ends, errors
            # Rows on threads use memory of the call before or of the reserve; otherwise this would prove nothing.
            assert ("MemoryError" in ends) == (name != "rows on threads"), name


# glibc and Rust's standard library allocate some hundred bytes for a new thread, and abort without
# them. Nobody can allocate these in advance; our part is to check that there is memory.
FATAL = (
    "cannot allocate memory for thread-local data",
    "failed to register TLS destructor",
    "memory allocation of 48 bytes failed",
)


def test_allocations_that_fail_while_threads_are_started(allocator):
    all_ends, errors = run(
        "without_memory.py", "starting threads", 1, LD_PRELOAD=str(allocator), PYTHONMALLOC="malloc"
    )
    [ends] = all_ends["starting threads"]
    assert "wrong" not in ends, errors
    assert explained_deaths(errors, FATAL) == deaths(ends), errors
    assert deaths(ends) <= 3 * 6  # for three threads: five each, rarely one more


@pytest.mark.parametrize("threads", [8, 31])
def test_an_address_space_too_small(threads):
    ends, errors = run("address_space.py", threads)
    assert all(end == "MemoryError" or end.endswith("started") for end in ends), errors
    assert f"{threads - 1} started" in ends, errors
    assert ends.keys() - {f"{threads - 1} started"}, "the limits were too large to matter"


# Too little address space for another thread, and more than enough for everything else.
NO_THREADS = """
import resource, warnings
import numpy as np
import smoothxent as sx

sx.set_num_threads(4)
warnings.simplefilter("error")
z = np.sin(np.arange({rows} * {classes}, dtype=np.float32)).reshape({rows}, {classes})
labels = np.zeros({rows}, int)
losses = np.zeros({rows}, np.float32)
before = z.tobytes()
with open("/proc/self/statm") as sizes:
    limit = int(sizes.read().split()[0]) * resource.getpagesize() + (4 << 20)
unlimited = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (limit, unlimited[1]))
try:
    sx.cross_entropy_value_and_grad(z, labels, grad_out=z, reduction="none", out=losses)
    print("no warning")
except RuntimeWarning as warning:
    print(warning)
resource.setrlimit(resource.RLIMIT_AS, unlimited)
assert z.tobytes() == before and not losses.any(), "written to"
sx.cross_entropy_value_and_grad(z, labels, grad_out=z, reduction="none", out=losses)
assert z.tobytes() != before and losses.all()
"""


@pytest.mark.parametrize("rows, classes", [(4000, 1000), (2, 2**18)])
def test_a_warning_made_an_error_comes_before_anything_is_written(rows, classes):
    process = subprocess.run(
        [sys.executable, "-c", NO_THREADS.format(rows=rows, classes=classes)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    assert re.match("only 0 of [13] threads could be started: ", process.stdout)


# For a builtin, the Python function that it replaces, and a function that is not a builtin.
WARNED = """
import resource, sys, warnings
import numpy as np
import smoothxent as sx

sx.set_num_threads(4)
z = np.sin(np.arange(4_000_000, dtype=np.float32)).reshape(4000, 1000)
labels, out = np.zeros(4000, int), np.zeros_like(z)
with open("/proc/self/statm") as sizes:
    limit = int(sizes.read().split()[0]) * resource.getpagesize() + (4 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    CALL
[warning] = caught
print(warning.filename, warning.lineno)
"""


@pytest.mark.parametrize(
    "call",
    [
        "sx.softmax(z, out=out)",
        "sx.softmax(z, axis=(1,), out=out)",
        "sx.cross_entropy_terms(z, labels)",
    ],
)
def test_the_warning_is_at_the_call(call):
    script = WARNED.replace("CALL", call)
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    line = script.split("\n").index(f"    {call}") + 1
    assert process.stdout == f"<string> {line}\n"
