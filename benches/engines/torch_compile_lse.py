"""PyTorch, compiled for this one shape, with a handwritten loss: no log-probabilities."""

from __future__ import annotations

import torch

from benches.engines import torch_compile
from benches.problem import Call, Problem

PACKAGES = ("torch",)
start = torch_compile.start


def loss(z: torch.Tensor, y: torch.Tensor, eps: float) -> torch.Tensor:
    """Return the mean loss."""
    picked = z.gather(1, y[:, None])[:, 0]
    return (torch.logsumexp(z, 1) - (1 - eps) * picked - eps * z.mean(1)).mean()


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time; softmax is the same as in the other form."""
    both = torch_compile.compiled(loss, problem)
    return {name: both[name] for name in ("loss_grad", "loss")}
