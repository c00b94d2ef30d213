"""One run of the tokens demo: a network trained with one treatment of the labels, and its test.

    logits   = network(contexts)
    gradient = p - q'      overwrites the logits: cross_entropy_value_and_grad(grad_out=logits)
    velocity = momentum * velocity + gradient of the parameters
    parameters -= rate * velocity                 the rate falls linearly to 0

Initial weights and batches depend on the seed alone, so runs of one seed are paired.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

import smoothxent as sx
from calibration import ECE_BINS, Bins, confidence_bins
from token_corpus import CLASSES, TEST, TRAINING, VALIDATION, Corpus, Labels, Text
from token_network import Floats, Network, descend

EPS = 0.1  # the paper's
BATCH = 128
# Of 0.05, 0.1, 0.2, 0.4 and 0.8: see `train_tokens.py --rates`.
LEARNING_RATE = 0.2
EVALUATED_AT_ONCE = 4096  # rows: 16 MB of logits

# A seed has one random stream per purpose.
WEIGHT_STREAM, BATCH_STREAM, DROPOUT_STREAM = range(3)


@dataclass(frozen=True)
class Method:
    """What is done with the labels."""

    name: str
    smoothing: float = 0.0
    dropout: float = 0.0
    unigram: bool = False  # the prior: class frequencies of the training text, or uniform

    def __str__(self) -> str:
        return f"eps = {self.smoothing or self.dropout:<4g} {self.name}"


HARD = Method("hard labels")
UNIFORM = Method("uniform prior", smoothing=EPS)
UNIGRAM = Method("unigram prior", smoothing=EPS, unigram=True)
DROPOUT = Method("label dropout", dropout=EPS)
METHODS = (HARD, UNIFORM, UNIGRAM, DROPOUT)


@dataclass(frozen=True)
class Plan:
    """The same for all runs."""

    steps: int
    looks: int  # how often training stops to look at the validation text
    validation_rows: int  # of it at each look
    test_rows: int | None = None  # None: all
    rate: float = LEARNING_RATE

    def looks_after(self, step: int) -> bool:
        return (step + 1) * self.looks // self.steps > step * self.looks // self.steps


@dataclass(frozen=True)
class Trained:
    network: Network
    curve: list[tuple[int, sx.Score]]  # after how many steps, on validation rows
    seconds: float  # of processor time, of all training steps
    loss_seconds: float  # of them in smoothxent


@dataclass(frozen=True)
class Evaluation:
    score: sx.Score
    entropy: float  # mean over the rows of the entropy of the predicted distribution
    bins: Bins


@dataclass(frozen=True)
class Run:
    method: Method
    seed: int
    trained: Trained
    test: Evaluation


Results: TypeAlias = Mapping[Method, Sequence[Run]]  # in the order of the seeds


def every_nth(text: Text, rows: int | None) -> np.ndarray:
    """The numbers of `rows` rows at equal distances, or of all."""
    return np.linspace(0, len(text) - 1, min(rows or len(text), len(text))).astype(np.int64)


def batches(rows: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Full batches of rows in random order, epoch after epoch."""
    while True:
        order = rng.permutation(rows)
        yield from (order[i : i + BATCH] for i in range(0, rows - BATCH + 1, BATCH))


def loss_and_gradient(
    logits: Floats,
    labels: Labels,
    method: Method,
    prior: Floats | None,
    rng: np.random.Generator,
) -> tuple[float, Floats]:
    """Mean loss of one batch and its gradient, which overwrites `logits`."""
    if method.dropout:
        labels = sx.label_dropout(labels, CLASSES, rate=method.dropout, rng=rng)
    return sx.cross_entropy_value_and_grad(
        logits, labels, label_smoothing=method.smoothing, prior=prior, grad_out=logits
    )


def evaluate(network: Network, text: Text, rows: int | None) -> Evaluation:
    """Chunk by chunk: scores of parts add up to that of the whole, to the bit."""
    score, entropy, bins = sx.Score(), 0.0, np.zeros((3, ECE_BINS))
    chosen = every_nth(text, rows)
    for start in range(0, len(chosen), EVALUATED_AT_ONCE):
        contexts, labels = text.examples(chosen[start : start + EVALUATED_AT_ONCE])
        logits = network.layers(contexts).logits
        score += sx.score(logits, labels)
        entropy += sx.cross_entropy(logits, sx.softmax(logits), reduction="sum")  # H(p, p)
        bins += confidence_bins(logits, labels)
    return Evaluation(score, entropy / len(chosen), bins)


def train(
    corpus: Corpus, plan: Plan, method: Method, seed: int, on_look: Callable[[str], None]
) -> Trained:
    """Minibatch gradient descent with momentum; no weight decay, no early stopping."""
    network = Network.initial(np.random.default_rng([seed, WEIGHT_STREAM]))
    velocity = Network.zeros_like(network)
    text = corpus.texts[TRAINING]
    prior = sx.class_prior(text.labels, CLASSES) if method.unigram else None
    order = batches(len(text), np.random.default_rng([seed, BATCH_STREAM]))
    dropout_rng = np.random.default_rng([seed, DROPOUT_STREAM])
    curve = []
    seconds = loss_seconds = 0.0
    for step, rows in zip(range(plan.steps), order):
        begin = time.thread_time()
        contexts, labels = text.examples(rows)
        layers = network.layers(contexts)
        before_loss = time.thread_time()
        _, upstream = loss_and_gradient(layers.logits, labels, method, prior, dropout_rng)
        loss_seconds += time.thread_time() - before_loss
        gradient = network.gradient(contexts, layers, upstream)
        descend(network, velocity, gradient, plan.rate * (1 - step / plan.steps))
        seconds += time.thread_time() - begin
        if plan.looks_after(step):
            found = evaluate(network, corpus.texts[VALIDATION], plan.validation_rows).score
            curve.append((step + 1, found))
            on_look(f"{method}, seed {seed}: validation error {100 * (1 - found.accuracy):.2f} %")
    return Trained(network, curve, seconds, loss_seconds)


def run(
    corpus: Corpus, plan: Plan, method: Method, seed: int, on_look: Callable[[str], None]
) -> Run:
    """Train, then look at the test text, once."""
    trained = train(corpus, plan, method, seed, on_look)
    return Run(method, seed, trained, evaluate(trained.network, corpus.texts[TEST], plan.test_rows))


def validation_loss(
    corpus: Corpus, plan: Plan, method: Method, seed: int, on_look: Callable[[str], None]
) -> float:
    """What a learning rate is chosen by: never the test text."""
    network = train(corpus, plan, method, seed, on_look).network
    return evaluate(network, corpus.texts[VALIDATION], None).score.nll
