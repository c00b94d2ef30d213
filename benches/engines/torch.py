"""PyTorch, eager."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from benches.problem import Call, Problem

PACKAGES = ("torch",)
start = torch.set_num_threads


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time; all except the gradient in inference mode."""
    z, y = torch.from_numpy(problem.logits), torch.from_numpy(problem.labels)
    leaf, out = z.clone().requires_grad_(), torch.zeros_like(z)
    inference = torch.inference_mode()

    def loss_grad() -> tuple[torch.Tensor, torch.Tensor]:
        loss = cross_entropy(leaf, y, label_smoothing=problem.epsilon)
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    result: dict[str, Call] = {
        "loss_grad": loss_grad,
        "loss": inference(lambda: cross_entropy(z, y, label_smoothing=problem.epsilon)),
        "softmax": inference(lambda: torch.softmax(z, 1)),
        "softmax out": inference(lambda: torch.softmax(z, 1, out=out)),
        "log_softmax": inference(lambda: torch.log_softmax(z, 1)),
        "log_softmax out": inference(lambda: torch.log_softmax(z, 1, out=out)),
    }
    if problem.probabilities is not None:
        q = torch.from_numpy(problem.probabilities)
        result["soft_loss"] = inference(
            lambda: cross_entropy(z, q, label_smoothing=problem.epsilon)
        )
    return result
