"""PyTorch, compiled for this one shape, with PyTorch's own loss."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from benches.problem import Call, Function, Problem

PACKAGES = ("torch",)
start = torch.set_num_threads


def loss(z: torch.Tensor, y: torch.Tensor, eps: float) -> torch.Tensor:
    """Return the mean loss."""
    return cross_entropy(z, y, label_smoothing=eps)


def compiled(loss: Function, problem: Problem) -> dict[str, Call]:
    """Return the calls of one form of the loss; loss and gradient are one compiled function."""
    torch._dynamo.reset()
    z, y = torch.from_numpy(problem.logits), torch.from_numpy(problem.labels)
    functions: dict[str, Function] = {
        "loss_grad": torch.func.grad_and_value(lambda z: loss(z, y, problem.epsilon)),
        "loss": lambda z: loss(z, y, problem.epsilon),
        "softmax": lambda z: torch.softmax(z, 1),
        "log_softmax": lambda z: torch.log_softmax(z, 1),
    }
    if problem.probabilities is not None:
        q = torch.from_numpy(problem.probabilities)
        functions["soft_loss"] = lambda z: loss(z, q, problem.epsilon)

    def call(name: str, function: Function) -> Call:
        ready = torch.compile(function, dynamic=False)
        if name == "loss_grad":
            return lambda: ready(z)[::-1]
        return torch.inference_mode()(lambda: ready(z))

    return {name: call(name, function) for name, function in functions.items()}


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time."""
    return compiled(loss, problem)
