"""TensorFlow: the loss as a graph, which saves the time of Python; softmax, a single operation, eager.

The loss is handwritten, without dense targets: 1.3 to 4 times as fast as with them.
"""

from __future__ import annotations

import tensorflow as tf

from benches.problem import Call, Problem

PACKAGES = ("tensorflow-cpu", "tensorflow")


def start(threads: int) -> None:
    """Set the number of threads within an operation."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)


def loss(z: tf.Tensor, y: tf.Tensor, eps: float) -> tf.Tensor:
    """Return the mean loss."""
    picked = tf.gather(z, y, axis=1, batch_dims=1)
    lse = tf.reduce_logsumexp(z, axis=1)
    return tf.reduce_mean(lse - (1 - eps) * picked - eps * tf.reduce_mean(z, axis=1))


def tensors(problem: Problem) -> tuple[tf.Tensor, tf.Tensor]:
    """Return logits and labels as tensors of TensorFlow."""
    return tf.constant(problem.logits), tf.constant(problem.labels, tf.int32)


def losses(problem: Problem, jit_compile: bool) -> dict[str, Call]:
    """Return the loss with its gradient, and without."""
    z, y = tensors(problem)

    @tf.function(jit_compile=jit_compile)
    def loss_grad(z: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(z, y, problem.epsilon)
        return value, tape.gradient(value, z)

    @tf.function(jit_compile=jit_compile)
    def alone(z: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return loss(z, y, problem.epsilon)

    return {"loss_grad": lambda: loss_grad(z, y), "loss": lambda: alone(z, y)}


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time."""
    z, _ = tensors(problem)
    return losses(problem, False) | {
        "softmax": lambda: tf.nn.softmax(z),
        "log_softmax": lambda: tf.nn.log_softmax(z),
    }
