"""The network of the digits demo in PyTorch, trained with torch's loss and with smoothxent's.

Shows that smoothxent.torch.CrossEntropyLoss can replace torch.nn.CrossEntropyLoss: with the same initial
weights and batches, the loss decreases along the same curve. The data are the 1,797 scanned digits of
8 x 8 pixels that scikit-learn includes, so nothing is downloaded.

    python examples/train_torch.py [--epochs N] [--label-smoothing EPS] [--seed N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits

import smoothxent.torch
from digits_training import BATCH, CLASSES, LEARNING_RATE, MOMENTUM, split_digits

TRAIN_PER_CLASS = [80] * CLASSES


def train(
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    labels: torch.Tensor,
    epochs: int,
    seed: int,
) -> tuple[torch.nn.Module, list[float]]:
    """Minibatch gradient descent with momentum; returns the network and the mean loss of each epoch."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, CLASSES)
    )
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, MOMENTUM)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=epochs)
    curve = []
    for _ in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(network(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        curve.append(total / len(labels))
    return network, curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    digits = load_digits()
    pixels = (digits.data / 16).astype("float32")
    split = split_digits(pixels, digits.target, [options.seed], TRAIN_PER_CLASS)
    parts = (split.train_images, split.train_labels, split.test_images, split.test_labels)
    train_images, train_labels, test_images, test_labels = (torch.from_numpy(a[0]) for a in parts)

    curves, errors = {}, {}
    for package in (torch.nn, smoothxent.torch):
        loss_of = package.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        network, curve = train(loss_of, train_images, train_labels, options.epochs, options.seed)
        curves[package.__name__] = curve
        guesses = network(test_images).argmax(1)
        errors[package.__name__] = (guesses != test_labels).double().mean().item()

    print("loss of      " + "".join(f"{name:>18}" for name in curves))
    for epoch, losses in enumerate(zip(*curves.values()), 1):
        print(f"epoch {epoch:<6d} " + "".join(f"{loss:18.9f}" for loss in losses))
    print("test error   " + "".join(f"{100 * error:16.2f} %" for error in errors.values()))


if __name__ == "__main__":
    main()
