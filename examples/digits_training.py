"""Splits, networks and training for the digits demo: every seed trains at once.

All arrays carry a leading seed axis: images are (seeds, rows, pixels), labels (seeds, rows),
weights (seeds, fan_in, fan_out), so one matrix product and one loss call serve all seeds, which
share nothing but the call. A network is a stack of affine layers with ReLU between them; a single
layer is softmax regression.

    logits   = affine(relu(affine(images)))
    gradient = p - q'      overwrites the logits: cross_entropy_value_and_grad(grad_out=logits)
    velocity = momentum * velocity + inputs.T @ gradient / rows
    weights -= rate * velocity
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import smoothxent as sx

Floats: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = NDArray[np.int64]

CLASSES = 10
BATCH = 50
LEARNING_RATE = 0.1  # falls linearly to 0 over training
MOMENTUM = 0.9

# A seed has one random stream per purpose.
SPLIT_STREAM, WEIGHT_STREAM, BATCH_STREAM, DROPOUT_STREAM = range(4)

# What is done with the labels.
HARD = "hard labels"
UNIFORM = "uniform prior"
CLASS_PRIOR = "class prior"
DROPOUT = "label dropout"


@dataclass(frozen=True)
class Arm:
    """One way to treat the labels. Arms that share a training split and a seed are paired."""

    split: str
    method: str
    eps: float

    @property
    def baseline(self) -> Arm:
        """The arm without smoothing on the same training split."""
        return Arm(self.split, HARD, 0.0)

    def __str__(self) -> str:
        return f"eps = {self.eps:<4g} {self.method}"


@dataclass(frozen=True)
class Split:
    """Training and test rows of every seed."""

    train_images: Floats
    train_labels: Labels
    test_images: Floats
    test_labels: Labels


def split_digits(
    images: Floats, labels: Labels, seeds: Sequence[int], train_per_class: Sequence[int]
) -> Split:
    """Draw `train_per_class[k]` training rows of each class k, at random by seed.

    Every class sets max(train_per_class) rows aside, used or not; all others are test rows. So a
    seed has the same test rows whether its training rows are balanced or not.
    """
    reserved = max(train_per_class)
    train, test = [], []
    for seed in seeds:
        order = np.random.default_rng([seed, SPLIT_STREAM]).permutation(len(labels))
        by_class = [order[labels[order] == k] for k in range(CLASSES)]
        train.append(np.concatenate([rows[:n] for rows, n in zip(by_class, train_per_class)]))
        test.append(np.concatenate([rows[reserved:] for rows in by_class]))
    return Split(images[train], labels[train], images[test], labels[test])


@dataclass(frozen=True)
class Network:
    """Affine layers: weights (seeds, fan_in, fan_out) and biases (seeds, 1, fan_out)."""

    weights: list[Floats]
    biases: list[Floats]

    @classmethod
    def initial(cls, widths: Sequence[int], seeds: Sequence[int]) -> Network:
        """Normal weights of variance 2 / fan_in (He et al. 2015) and zero biases."""
        generators = [np.random.default_rng([seed, WEIGHT_STREAM]) for seed in seeds]
        weights, biases = [], []
        for fan_in, fan_out in pairwise(widths):
            draws = [g.standard_normal((fan_in, fan_out), dtype=np.float32) for g in generators]
            weights.append(np.stack(draws) * np.float32(np.sqrt(2 / fan_in)))
            biases.append(np.zeros((len(seeds), 1, fan_out), np.float32))
        return cls(weights, biases)

    def layer_inputs(self, images: Floats) -> list[Floats]:
        """What each layer receives, and at the end the logits."""
        inputs = [images]
        for weight, bias in zip(self.weights, self.biases):
            if len(inputs) > 1:
                np.maximum(inputs[-1], 0, out=inputs[-1])
            inputs.append(inputs[-1] @ weight + bias)
        return inputs

    def logits(self, images: Floats) -> Floats:
        return self.layer_inputs(images)[-1]

    def gradients(self, inputs: list[Floats], upstream: Floats) -> list[Floats]:
        """Gradients in the order of `parameters`, from that of the logits (back-propagation)."""
        gradients: list[Floats] = []
        for layer in reversed(range(len(self.weights))):
            gradients[:0] = [
                inputs[layer].swapaxes(-1, -2) @ upstream,
                upstream.sum(axis=-2, keepdims=True),
            ]
            if layer:
                upstream = (upstream @ self.weights[layer].swapaxes(-1, -2)) * (inputs[layer] > 0)
        return gradients

    @property
    def parameters(self) -> list[Floats]:
        return [array for layer in zip(self.weights, self.biases) for array in layer]


def loss_and_gradient(
    logits: Floats, labels: Labels, arm: Arm, prior: Floats | None, rng: np.random.Generator
) -> tuple[float, Floats]:
    """Loss of one batch and its gradient, which overwrites `logits`.

    The sum, not the mean: it keeps the seeds apart, whose losses merely share the call.
    """
    smoothing = arm.eps
    if arm.method == DROPOUT:
        labels, smoothing = sx.label_dropout(labels, CLASSES, rate=arm.eps, rng=rng), 0.0
    loss, gradient = sx.cross_entropy_value_and_grad(
        logits, labels, label_smoothing=smoothing, prior=prior, reduction="sum", grad_out=logits
    )
    return loss, gradient


def descend(
    parameters: list[Floats], velocities: list[Floats], gradients: list[Floats], rate: float
) -> None:
    """Move the parameters, in place, along the momentum average of their gradients."""
    for parameter, velocity, gradient in zip(parameters, velocities, gradients):
        velocity *= MOMENTUM
        velocity += gradient
        parameter -= rate * velocity


def train(
    arm: Arm,
    widths: Sequence[int],
    split: Split,
    seeds: Sequence[int],
    epochs: int,
    on_epoch: Callable[[float], None],
) -> Network:
    """Minibatch gradient descent with momentum; no weight decay, no early stopping.

    Initial weights and batches depend on the seed alone, never on the arm.
    `on_epoch` is told the mean training loss, measured on the targets the arm trains on.
    """
    network = Network.initial(widths, seeds)
    velocities = [np.zeros_like(parameter) for parameter in network.parameters]
    prior = sx.class_prior(split.train_labels, CLASSES) if arm.method == CLASS_PRIOR else None
    shuffles = [np.random.default_rng([seed, BATCH_STREAM]) for seed in seeds]
    dropout_rng = np.random.default_rng([*seeds, DROPOUT_STREAM])
    rows = split.train_labels.shape[1]
    for epoch in range(epochs):
        rate = LEARNING_RATE * (1 - epoch / epochs)
        total = 0.0
        order = np.stack([rng.permutation(rows) for rng in shuffles])
        for start in range(0, rows, BATCH):
            batch = order[:, start : start + BATCH]
            images = np.take_along_axis(split.train_images, batch[:, :, None], axis=1)
            labels = np.take_along_axis(split.train_labels, batch, axis=1)
            inputs = network.layer_inputs(images)
            loss, upstream = loss_and_gradient(inputs[-1], labels, arm, prior, dropout_rng)
            total += loss
            gradients = network.gradients(inputs, upstream)
            descend(network.parameters, velocities, gradients, rate / batch.shape[1])
        on_epoch(total / order.size)
    return network
