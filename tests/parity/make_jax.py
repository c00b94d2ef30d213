"""Writes jax.npz: optax's losses with their gradients, and the softmax functions of JAX.

optax returns the loss of every row. Options for which it has no parameter are composed of its
functions and differentiated by JAX: means, priors, temperature, z-loss, and the terms of the loss.
JAX compiles each shape and option separately, which takes minutes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from parity import archive, cases

VARIANTS = (
    "labels", "prior", "classes masked", "temperature", "z-loss",
    "probabilities", "probabilities, prior",
)  # fmt: skip
SPARSE = "softmax_cross_entropy_with_integer_labels"
# It has neither ignored labels nor weights of any kind.
SKIPPED = (
    "all rows ignored", "nan in an ignored row",
    "sample weights all zero",
    "sample weights of shape (2, 1)", "class weights with probabilities",
)  # fmt: skip


def loss_of_rows(
    z, targets, *, name, label_smoothing, prior=None, where=None, temperature=1, z_loss=0
):
    masked = {} if where is None else {"where": where}
    z = z / temperature
    if name == SPARSE:
        return optax.softmax_cross_entropy_with_integer_labels(z, targets, **masked)
    q = targets if targets.ndim == z.ndim else jax.nn.one_hot(targets, z.shape[-1], dtype=z.dtype)
    if prior is None:
        q = optax.smooth_labels(q, label_smoothing, **masked)
    else:
        q = (1 - label_smoothing) * q + label_smoothing * prior
    loss = getattr(optax, name)(z, q, **masked)
    return loss + z_loss * jax.nn.logsumexp(z, axis=-1) ** 2 if z_loss else loss


def cross_entropy(logits, targets, *, reduction, axis=-1, **options):
    reduce = {"none": lambda losses: losses, "mean": jnp.mean}[reduction]
    value, back = jax.vjp(lambda z: reduce(loss_of_rows(z, targets, **options)), logits)
    return value, back(jnp.ones_like(value))[0]


def terms(logits, targets, *, prior, axis):
    return {
        "nll": optax.softmax_cross_entropy_with_integer_labels(logits, targets),
        "prior_cross_entropy": optax.softmax_cross_entropy(logits, np.full_like(logits, prior)),
        "prior_kl": optax.kl_divergence(jax.nn.log_softmax(logits), prior),
        "logsumexp": jax.nn.logsumexp(logits, axis=-1),
    }


def activation(logits, *, axis, op, where=None):
    return {"value": getattr(jax.nn, op)(logits, axis=axis, where=where)}


def grid():
    for case in cases.grid(VARIANTS):
        plain = case["variant"] == "labels" and case["options"]["label_smoothing"] == 0
        name = SPARSE if plain else "softmax_cross_entropy"
        for reduction in ("none", "mean"):
            asked = case | {"options": case["options"] | {"reduction": reduction}}
            yield archive.ask(cross_entropy, asked, f"optax.{name}", name=name)
    for case in cases.grid(["prior"], epsilons=[0.0]):
        options = {name: case["options"][name] for name in ("prior", "axis")}
        asked = case | {"op": "cross_entropy_terms", "options": options}
        yield archive.ask(terms, asked, "optax")
    for case in cases.activations(variants=("all classes", "classes masked")):
        yield archive.ask(activation, case, f"jax.nn.{case['op']}", op=case["op"])


def differences():
    for case in cases.differences():
        if case["name"] in SKIPPED:
            continue
        for name in (SPARSE, "softmax_cross_entropy", "safe_softmax_cross_entropy"):
            dense = case["targets"].ndim == 2 or case["options"]["label_smoothing"] != 0
            unmasked = name == "safe_softmax_cross_entropy" and "where" in case["options"]
            if not unmasked and not (name == SPARSE and dense):
                yield archive.ask(cross_entropy, case, f"optax.{name}", name=name)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    versions = {"jax": jax.__version__, "optax": optax.__version__}
    archive.write("jax", versions, [*grid(), *differences()])
