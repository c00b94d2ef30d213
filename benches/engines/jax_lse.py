"""JAX, compiled, with a handwritten loss: no dense targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from benches.engines import jax_optax
from benches.problem import Call, Problem

PACKAGES = ("jax", "jaxlib")
start = jax_optax.start


def loss(z: jax.Array, y: jax.Array, eps: float) -> jax.Array:
    """Return the mean loss."""
    picked = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
    lse = jax.nn.logsumexp(z, axis=1)
    return (lse - (1 - eps) * picked - eps * z.mean(axis=1)).mean()


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time; softmax is the same as in the other form."""
    both = jax_optax.compiled(loss, problem)
    return {name: both[name] for name in ("loss_grad", "loss")}
