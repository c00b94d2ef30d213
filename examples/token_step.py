"""The share of the loss in a training step of the tokens demo, with smoothxent and with torch in its place.

    step = logits of a batch, loss and gradient of the logits, gradient of the parameters, update
    for each round: a step with either loss, in turns
    processor time on one thread, as the demo trains: medians over the rounds, ratios within a round

Both give their gradient to the same NumPy network; torch reads the logits where they lie. The gradients
are compared before anything is timed. Without torch only smoothxent is timed.

    python examples/token_step.py [--rounds N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

import smoothxent as sx
from token_corpus import CLASSES, CONTEXT, Labels
from token_network import EMBEDDING, HIDDEN, Floats, Network, descend
from token_training import BATCH, EPS, LEARNING_RATE, UNIFORM, loss_and_gradient

WARM_UP = 20  # rounds
TOLERANCE = 1e-7  # of a gradient: components are at most 1 / BATCH

Loss: TypeAlias = Callable[[Floats, Labels], Floats]  # the gradient, where the logits were or not


def of_smoothxent() -> Loss:
    rng = np.random.default_rng(0)  # this method draws nothing from it

    def loss(logits: Floats, labels: Labels) -> Floats:
        return loss_and_gradient(logits, labels, UNIFORM, None, rng)[1]

    return loss


def of_torch(torch: Any) -> Loss:
    def loss(logits: Floats, labels: Labels) -> Floats:
        tensor = torch.from_numpy(logits).requires_grad_()
        targets = torch.from_numpy(labels.astype(np.int64))
        torch.nn.functional.cross_entropy(tensor, targets, label_smoothing=EPS).backward()
        gradient: Floats = tensor.grad.numpy()
        return gradient

    return loss


class Trainer:
    """A network and random tokens to learn: what a step costs does not depend on them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.network = Network.initial(self.rng)
        self.velocity = Network.zeros_like(self.network)

    def batch(self) -> tuple[Any, Labels]:
        tokens = self.rng.integers(0, CLASSES, (BATCH, CONTEXT + 1), dtype=np.int16)
        return tokens[:, :-1], np.ascontiguousarray(tokens[:, -1])

    def step(self, loss: Loss) -> tuple[float, float]:
        """Seconds of the step, and of its loss."""
        contexts, labels = self.batch()
        begin = time.thread_time()
        layers = self.network.layers(contexts)
        before_loss = time.thread_time()
        upstream = loss(layers.logits, labels)
        after_loss = time.thread_time()
        gradient = self.network.gradient(contexts, layers, upstream)
        descend(self.network, self.velocity, gradient, LEARNING_RATE / 100)
        return time.thread_time() - begin, after_loss - before_loss


def compare(losses: Mapping[str, Loss]) -> None:
    """All losses have the same gradient, or nothing is timed."""
    trainer = Trainer()
    contexts, labels = trainer.batch()
    logits = trainer.network.layers(contexts).logits
    gradients = {name: loss(logits.copy(), labels) for name, loss in losses.items()}
    reference = gradients["smoothxent"]
    for name, gradient in gradients.items():
        distance = float(np.abs(gradient - reference).max())
        if not distance <= TOLERANCE:
            raise ArithmeticError(f"{name}: the gradient is off by {distance:.3g}")


def measure(losses: Mapping[str, Loss], rounds: int) -> dict[str, np.ndarray]:
    """By name of the loss: (rounds, 2) seconds, of the step and of its loss."""
    trainer = Trainer()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in losses}
    for _ in range(WARM_UP + rounds):
        for name, loss in losses.items():
            taken[name].append(trainer.step(loss))
    return {name: np.array(seconds[WARM_UP:]) for name, seconds in taken.items()}


def table(taken: Mapping[str, np.ndarray]) -> str:
    lines = [f"  {'':<14}{'step ms':>9}{'loss ms':>9}{'share':>8}"]
    for name, seconds in taken.items():
        step, loss = 1e3 * np.median(seconds, axis=0)
        share = np.median(seconds[:, 1] / seconds[:, 0])
        lines.append(f"  {name:<14}{step:>9.3f}{loss:>9.3f}{share:>8.1%}")
    if "torch" in taken:
        step, loss = np.median(taken["torch"] / taken["smoothxent"], axis=0)
        lines.append(f"  {'torch / ours':<14}{step:>9.2f}{loss:>9.2f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, metavar="N", default=1000, help="default: 1000")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")

    losses: dict[str, Loss] = {"smoothxent": of_smoothxent()}
    versions = f"smoothxent {sx.__version__}"
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(1)
        losses["torch"] = of_torch(torch)
        versions += f", torch {torch.__version__}"
    sx.set_num_threads(1)
    with threadpool_limits(1):
        compare(losses)
        taken = measure(losses, options.rounds)
    print(
        f"{versions}; one thread; {options.rounds} rounds; "
        f"{BATCH} x {CONTEXT} tokens x {EMBEDDING} -> {HIDDEN} -> {CLASSES}, eps = {EPS}"
    )
    print(table(taken))
    if "torch" not in losses:
        print("torch cannot be imported here: pip install torch, to see its loss in the same step")


if __name__ == "__main__":
    main()
