"""Writes keras.npz: the losses of Keras on TensorFlow, with their gradients.

The losses with smoothing take one-hot labels. The default mean divides by the number of rows, whatever
their weights, without the rows of the ignored class.
"""

import keras
import tensorflow as tf

from parity import archive
from parity.make_tensorflow import LABELS, SKIPPED, dense, differences, grid, with_gradient

DENSE = (*LABELS, "probabilities", "probabilities, sample weights")
REDUCTIONS = {
    "none": "none",
    "sum": "sum",
    "mean_with_sample_weight": "mean",
    "sum_over_batch_size": None,
}
MEAN = "mean_with_sample_weight"


def categorical(logits, targets, *, label_smoothing, reduction, sample_weight=None, **_):
    settings = {"from_logits": True, "reduction": reduction, "dtype": logits.dtype.name}
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing, **settings)
    labels = dense(targets, logits)
    return with_gradient(lambda z: loss(labels, z, sample_weight=sample_weight), logits)


def sparse_categorical(logits, targets, *, reduction, sample_weight=None, **_):
    settings = {"from_logits": True, "reduction": reduction, "dtype": logits.dtype.name}
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-100, **settings)
    return with_gradient(lambda z: loss(targets, z, sample_weight=sample_weight), logits)


def main():
    call = "keras.losses.CategoricalCrossentropy"
    yield from grid(categorical, DENSE, REDUCTIONS, call)
    yield from differences(categorical, call, MEAN)
    call, variants = "keras.losses.SparseCategoricalCrossentropy", (*LABELS, "some rows ignored")
    yield from grid(sparse_categorical, variants, REDUCTIONS, call, epsilons=[0.0])
    yield from differences(sparse_categorical, call, MEAN, skipped=SKIPPED[2:], sparse=True)


if __name__ == "__main__":
    versions = {"keras": keras.__version__, "tensorflow-cpu": tf.__version__}
    archive.write("keras", versions, list(main()))
