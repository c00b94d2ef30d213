"""SciPy's own tests of logsumexp, softmax and log_softmax pass with the functions of this package."""

import os
import re
import subprocess
import sys
from pathlib import Path

from scipy_in_place import LEFT_OUT

HERE = Path(__file__).parent
MODULE = "scipy.special.tests.test_logsumexp"


def test_in_the_place_of_scipy(tmp_path):
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = ["-c", os.devnull, "-p", "scipy_in_place", "-p", "no:cacheprovider", "-q"]
    process = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--pyargs", MODULE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stdout
    passed = re.search(r"^(\d+) passed, (\d+) deselected", process.stdout, re.MULTILINE)
    assert passed, process.stdout
    # SciPy 1.17 has 30 tests that need neither b, nor a sign, nor complex numbers.
    assert int(passed[1]) >= 30
    assert int(passed[2]) >= len(LEFT_OUT)
