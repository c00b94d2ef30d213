"""Writes tensorflow.npz: tf.compat.v1.losses with their gradients, and TensorFlow's softmax functions.

The losses with smoothing take one-hot labels. A mean over all rows, whatever their weights, is "mean"
with the number of rows as `normalizer` here.
"""

import math

import tensorflow as tf

from parity import archive, cases

LABELS = ("labels", "sample weights")
DENSE = (*LABELS, "sample weights, broadcast", "probabilities", "probabilities, sample weights")
# The name of each reduction here. None: "mean" with a normalizer.
REDUCTIONS = {
    "none": "none",
    "weighted_sum": "sum",
    "weighted_mean": "mean",
    "weighted_sum_over_batch_size": None,
    "weighted_sum_by_nonzero_weights": "sum_by_nonzero_weights",
}
# They have neither ignored labels, nor class weights, nor masks.
SKIPPED = (
    "all rows ignored", "nan in an ignored row", "class weights with probabilities",
    "label masked", "all classes masked",
)  # fmt: skip
ACTIVATIONS = {
    "softmax": tf.nn.softmax,
    "log_softmax": tf.nn.log_softmax,
    "logsumexp": tf.reduce_logsumexp,
}


def with_gradient(loss, logits):
    z = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = loss(z)
    return value, tape.gradient(value, z)


def dense(targets, logits):
    if targets.ndim == logits.ndim:
        return targets
    return tf.one_hot(targets, logits.shape[-1], dtype=logits.dtype)


def softmax_cross_entropy(logits, targets, *, label_smoothing, reduction, sample_weight=1.0, **_):
    options = {"label_smoothing": label_smoothing, "reduction": reduction, "weights": sample_weight}
    labels = dense(targets, logits)
    losses = tf.compat.v1.losses
    return with_gradient(lambda z: losses.softmax_cross_entropy(labels, z, **options), logits)


def sparse_softmax_cross_entropy(
    logits, targets, *, reduction, sample_weight=1.0, compiled=False, **_
):
    def loss(z):
        return tf.compat.v1.losses.sparse_softmax_cross_entropy(
            targets, z, weights=sample_weight, reduction=reduction
        )

    return with_gradient(tf.function(loss, jit_compile=True) if compiled else loss, logits)


def activation(logits, *, axis, op):
    return {"value": ACTIVATIONS[op](logits, axis=axis)}


def grid(peer, variants, reductions, call, epsilons=cases.EPSILONS):
    for case in cases.grid(variants, epsilons=epsilons):
        for theirs, ours in reductions.items():
            options = case["options"] | {"reduction": ours or "mean"}
            if "sample_weight" not in options:
                options["reduction"] = options["reduction"].replace(
                    "sum_by_nonzero_weights", "mean"
                )
            elif ours is None:
                options["normalizer"] = math.prod(case["shape"][:-1])
            asked = case | {"options": options}
            yield archive.ask(peer, asked, f"{call}({theirs})", reduction=theirs)


def differences(peer, call, mean, skipped=SKIPPED, sparse=False, **more):
    for case in cases.differences():
        labels = case["targets"].ndim < case["logits"].ndim
        smooth = not labels or case["options"]["label_smoothing"] != 0
        if case["name"] not in skipped and not (sparse and smooth):
            theirs = {"none": "none", "mean": mean}[case["options"]["reduction"]]
            yield archive.ask(peer, case, call, reduction=theirs, **more)


def main():
    call = "tf.losses.softmax_cross_entropy"
    yield from grid(softmax_cross_entropy, DENSE, REDUCTIONS, call)
    yield from differences(softmax_cross_entropy, call, "weighted_mean")
    call, peer = "tf.losses.sparse_softmax_cross_entropy", sparse_softmax_cross_entropy
    yield from grid(peer, LABELS, REDUCTIONS, call, epsilons=[0.0])
    yield from differences(peer, call, "weighted_mean", sparse=True)
    yield from differences(peer, f"{call}, XLA", "weighted_mean", sparse=True, compiled=True)
    for case in cases.activations():
        yield archive.ask(activation, case, f"tf.{case['op']}", op=case["op"])


if __name__ == "__main__":
    archive.write("tensorflow", {"tensorflow-cpu": tf.__version__}, list(main()))
