"""TensorFlow, compiled by XLA."""

from __future__ import annotations

import tensorflow as tf

from benches.engines import tensorflow as eager
from benches.problem import Call, Problem

PACKAGES = eager.PACKAGES
start = eager.start


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time."""
    z, _ = eager.tensors(problem)
    softmax = tf.function(tf.nn.softmax, jit_compile=True)
    log_softmax = tf.function(tf.nn.log_softmax, jit_compile=True)
    return eager.losses(problem, True) | {
        "softmax": lambda: softmax(z),
        "log_softmax": lambda: log_softmax(z),
    }
