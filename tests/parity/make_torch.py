"""Writes torch.npz: torch.nn.functional.cross_entropy with its gradient, and the softmax functions.

Classes are along axis 1, as in PyTorch. With probabilities and class weights its "mean" divides
by the number of rows, not by their weights; the option `normalizer` says so.
"""

import math

import torch
from torch.nn import functional

from parity import archive, cases

VARIANTS = (
    "labels", "some rows ignored", "one class ignored",
    "class weights", "class weights, some rows ignored",
    "probabilities", "probabilities, class weights",
)  # fmt: skip
# It has no parameter for these.
SKIPPED = (
    "sample weights all zero", "sample weights of shape (2, 1)", "label masked",
    "all classes masked",
)  # fmt: skip


def cross_entropy(
    logits, targets, *, class_weight=None, axis=1, normalizer=None, storage=None, **options
):
    z = torch.tensor(logits, dtype=storage, requires_grad=True)
    weight = None if class_weight is None else torch.tensor(class_weight)
    loss = functional.cross_entropy(z, torch.tensor(targets), weight=weight, **options)
    loss.sum().backward()
    answer = loss.detach(), z.grad
    if storage is torch.bfloat16:  # which NumPy does not have
        answer = (part.float() for part in answer)
    return tuple(part.numpy() for part in answer)


def activation(logits, *, axis, op):
    return {"value": getattr(torch, op)(torch.tensor(logits), dim=axis).numpy()}


def grid():
    for case in cases.grid(VARIANTS, axis=1):
        for reduction in ("none", "sum", "mean"):
            options = case["options"] | {"reduction": reduction}
            if case["variant"] == "probabilities, class weights" and reduction == "mean":
                options["normalizer"] = math.prod(case["shape"][:-1])
            yield archive.ask(cross_entropy, case | {"options": options}, "F.cross_entropy")
    for case in cases.activations(axis=1):
        yield archive.ask(activation, case, f"torch.{case['op']}", op=case["op"])


def differences():
    for case in cases.differences():
        if case["name"] not in SKIPPED:
            yield archive.ask(cross_entropy, case, "F.cross_entropy")
    for case in cases.differences("mean of many rows in 16 bits"):
        call, storage = "F.cross_entropy, bfloat16", torch.bfloat16
        yield archive.ask(cross_entropy, case, call, ("bfloat16",), storage=storage)


if __name__ == "__main__":
    torch.set_num_threads(1)
    archive.write("torch", {"torch": torch.__version__}, [*grid(), *differences()])
