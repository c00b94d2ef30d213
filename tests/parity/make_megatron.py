"""Writes megatron.npz: the cross-entropy of Megatron-LM, which smooths over the K - 1 other classes.

It takes logits of three axes, computes in float32, and gives the loss of every row.
"""

import megatron.core
import torch
from megatron.core import parallel_state, tensor_parallel

from parity import archive, cases

EPSILONS = (0.0, 0.1, 0.37)  # below 1
SHAPES = [shape for shape in cases.SHAPES if len(shape) == 3]


def cross_entropy(logits, targets, *, label_smoothing, **_):
    if logits.ndim == 2:
        batch = cross_entropy(logits[None], targets[None], label_smoothing=label_smoothing)
        return tuple(part[0] for part in batch)
    z = torch.tensor(logits, requires_grad=True)
    loss = tensor_parallel.vocab_parallel_cross_entropy(
        z.clone(), torch.tensor(targets), label_smoothing
    )  # a copy, since it works in place
    loss.sum().backward()
    return loss.detach().numpy(), z.grad.numpy()


def main():
    for case in cases.grid(["labels"], epsilons=EPSILONS, shapes=SHAPES):
        asked = case | {"options": case["options"] | {"reduction": "none"}}
        yield archive.ask(cross_entropy, asked, "vocab_parallel_cross_entropy", ("float32",))
    for case in cases.differences("label K", "label -1", "large gap, smoothed"):
        yield archive.ask(cross_entropy, case, "vocab_parallel_cross_entropy", ("float32",))


if __name__ == "__main__":
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    parallel_state.initialize_model_parallel(1)
    versions = {"megatron-core": megatron.core.__version__, "torch": torch.__version__}
    archive.write("megatron", versions, list(main()))
    torch.distributed.destroy_process_group()
