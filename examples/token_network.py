"""A network that predicts the next token from those before it, in plain NumPy.

    inputs = embedding[contexts], side by side                 (rows, CONTEXT x EMBEDDING)
    hidden = relu(inputs @ hidden_weight + hidden_bias)        (rows, HIDDEN)
    logits = hidden @ output_weight + output_bias              (rows, CLASSES)

Bengio, Ducharme, Vincent and Jauvin, "A Neural Probabilistic Language Model", JMLR 3, 2003.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from token_corpus import CLASSES, CONTEXT, Contexts

EMBEDDING = 32
HIDDEN = 128
MOMENTUM = 0.9

Floats: TypeAlias = NDArray[np.floating[Any]]


class Layers(NamedTuple):
    inputs: Floats
    hidden: Floats
    logits: Floats


@dataclass(frozen=True)
class Network:
    """The parameters; their gradients and velocities have the same form."""

    embedding: Floats
    hidden_weight: Floats
    hidden_bias: Floats
    output_weight: Floats
    output_bias: Floats

    @classmethod
    def initial(cls, rng: np.random.Generator, dtype: DTypeLike = np.float32) -> Network:
        """Normal embeddings, normal weights of variance 2 / fan_in (He et al. 2015), zero biases."""
        fan_in = CONTEXT * EMBEDDING

        def normal(rows: int, columns: int, variance: float) -> Floats:
            draws: Floats = rng.standard_normal((rows, columns)) * np.sqrt(variance)
            return draws.astype(dtype)

        return cls(
            normal(CLASSES, EMBEDDING, 1),
            normal(fan_in, HIDDEN, 2 / fan_in),
            np.zeros(HIDDEN, dtype),
            normal(HIDDEN, CLASSES, 2 / HIDDEN),
            np.zeros(CLASSES, dtype),
        )

    @classmethod
    def zeros_like(cls, network: Network) -> Network:
        return cls(*(np.zeros_like(parameter) for parameter in network.parameters))

    @property
    def parameters(self) -> tuple[Floats, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def layers(self, contexts: Contexts) -> Layers:
        inputs = self.embedding[contexts].reshape(len(contexts), -1)
        hidden = inputs @ self.hidden_weight
        hidden += self.hidden_bias
        np.maximum(hidden, 0, out=hidden)
        logits = hidden @ self.output_weight
        logits += self.output_bias
        return Layers(inputs, hidden, logits)

    def gradient(self, contexts: Contexts, layers: Layers, of_logits: Floats) -> Network:
        """Gradient of the parameters from that of the logits (back-propagation)."""
        of_hidden = of_logits @ self.output_weight.T
        of_hidden *= layers.hidden > 0
        of_inputs = of_hidden @ self.hidden_weight.T
        return Network(
            self._of_embedding(contexts, of_inputs),
            layers.inputs.T @ of_hidden,
            of_hidden.sum(axis=0),
            layers.hidden.T @ of_logits,
            of_logits.sum(axis=0),
        )

    def _of_embedding(self, contexts: Contexts, of_inputs: Floats) -> Floats:
        """Each token gets the sum over the places where it stands."""
        gradient = np.zeros_like(self.embedding)
        numbers = contexts[..., None] * np.int64(EMBEDDING) + np.arange(EMBEDDING)
        np.add.at(gradient.reshape(-1), numbers.reshape(-1), of_inputs.reshape(-1))
        return gradient


def descend(network: Network, velocity: Network, gradient: Network, rate: float) -> None:
    """Move the parameters, in place, along the momentum average of their gradients."""
    for parameter, average, new in zip(
        network.parameters, velocity.parameters, gradient.parameters
    ):
        average *= MOMENTUM
        average += new
        parameter -= rate * average
