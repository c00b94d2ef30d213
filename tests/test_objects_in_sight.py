"""Python code that an argument runs may look at all objects that there are, and keep them: no half-made one is among them."""

import subprocess
import sys

import pytest

SCRIPT = """
import gc
import numpy as np
import smoothxent as sx

kept = []

def unpack_pairs():
    for one in gc.get_objects():
        if type(one) is tuple and len(one) == 2:
            first, second = one

def keep_all():
    kept.append(gc.get_objects())

class Rows:
    def __array__(self, dtype=None, copy=None):
        {look}()
        return np.zeros((2, 4))

losses, grad = np.zeros(2), np.zeros((2, 4))
given = sx.cross_entropy_value_and_grad(Rows(), [0, 1], reduction="none", {outputs})
assert type(given) is tuple
assert np.array_equal(given[0], [np.log(4)] * 2)
assert np.array_equal(given[1], [[-0.75, 0.25, 0.25, 0.25], [0.25, -0.75, 0.25, 0.25]])
"""


@pytest.mark.parametrize("look", ["unpack_pairs", "keep_all"])
@pytest.mark.parametrize(
    "outputs", ["", "grad_out=grad", "out=losses", "out=losses, grad_out=grad"]
)
def test_the_result_of_two(look, outputs):
    script = SCRIPT.format(look=look, outputs=outputs)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
