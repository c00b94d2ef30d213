"""JAX, compiled, with the loss of Optax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from benches.problem import Call, Function, Problem

PACKAGES = ("jax", "jaxlib", "optax")


def start(threads: int) -> None:
    """Set nothing: XLA uses the processors that the driver allows to the process."""


def loss(z: jax.Array, y: jax.Array, eps: float) -> jax.Array:
    """Return the mean loss."""
    q = optax.smooth_labels(jax.nn.one_hot(y, z.shape[1]), eps)
    return optax.softmax_cross_entropy(z, q).mean()


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time."""
    both = compiled(loss, problem)
    if problem.probabilities is None:
        return both
    z, q = jnp.asarray(problem.logits), jnp.asarray(problem.probabilities)

    @jax.jit
    def soft_loss(z: jax.Array, q: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy(z, optax.smooth_labels(q, problem.epsilon)).mean()

    return both | {"soft_loss": lambda: jax.block_until_ready(soft_loss(z, q))}


def compiled(loss: Function, problem: Problem) -> dict[str, Call]:
    """Return the calls of one form of the loss."""
    z, y = jnp.asarray(problem.logits), jnp.asarray(problem.labels, jnp.int32)
    functions = {
        "loss_grad": lambda z: jax.value_and_grad(loss)(z, y, problem.epsilon),
        "loss": lambda z: loss(z, y, problem.epsilon),
        "softmax": lambda z: jax.nn.softmax(z, axis=1),
        "log_softmax": lambda z: jax.nn.log_softmax(z, axis=1),
    }

    def call(function: Function) -> Call:
        ready = jax.jit(function)
        return lambda: jax.block_until_ready(ready(z))

    return {name: call(function) for name, function in functions.items()}
