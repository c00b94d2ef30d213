"""score: the same bits on every processor."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import smoothxent as sx

SCRIPT = """
import json
import ml_dtypes
import numpy as np
import smoothxent as sx
from smoothxent._score import to_state

rng = np.random.default_rng(1)
z, y = rng.integers(-4096, 4096, (200, 10)) / 1024, rng.integers(0, 10, 200)
types = np.float16, ml_dtypes.bfloat16, np.float32, np.float64
scores = [sx.score(z.astype(dtype), y, label_smoothing=0.1, temperature=1.5) for dtype in types]
print(json.dumps([[to_state(score), score.as_dict()] for score in scores]))
"""


def scores(**environment):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def test_no_bit_depends_on_the_instructions_of_the_processor():
    """Without the vector instructions that NumPy chooses by processor, and without ours."""
    umath = np._core._multiarray_umath
    chosen = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]]
    portable = scores(NPY_DISABLE_CPU_FEATURES=" ".join(chosen), SMOOTHXENT_MAX_ISA="portable")
    assert portable == scores()


@pytest.mark.parametrize(
    "nll, perplexity",
    [  # the C library rounds one of the first two up or down, by whether the processor has FMA
        (1.243558129444221, 3.4679308852726223),
        (8.321928844944539, 4113.08586682146),
        (0.0, 1.0),
        (1.0, math.e),
        (709.782712893384, 1.7976931348622732e308),
        (709.7827128933841, math.inf),
        (1e300, math.inf),
    ],
)
def test_perplexity_is_the_correctly_rounded_exponential(nll, perplexity):
    # The loss of a class with log-probability -1024, times its target probability.
    score = sx.score([[0.0, -1024.0]], [[0.0, nll / 1024]])
    assert (score.nll, score.perplexity) == (nll, perplexity)
