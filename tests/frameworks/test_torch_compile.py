"""torch.compile: the loss in one graph with the code around it, with the same bits as outside of a graph."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

import smoothxent as sx
import smoothxent.torch as sxt

CLASSES = 11


@pytest.fixture(autouse=True)
def nothing_compiled():
    """Nor cached on disk: the cache of backward passes does not depend on our code."""
    torch.manual_seed(0)
    torch.compiler.reset()
    with torch._functorch.config.patch(enable_autograd_cache=False):
        yield


def both(function, *inputs):
    """The result of a function and the gradient of its first input, outside and inside of a graph."""
    results = []
    for run in (function, torch.compile(function, fullgraph=True)):
        z = inputs[0].detach().clone().requires_grad_()
        loss = run(z, *inputs[1:])
        loss.sum().backward()
        results.append((loss.detach(), z.grad))
    return results


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_bits(dtype, reduction):
    logits, target = torch.randn(7, CLASSES).to(dtype), torch.randint(CLASSES, (7,))
    outside, inside = both(
        lambda z, y: sxt.cross_entropy(z, y, label_smoothing=0.1, reduction=reduction),
        logits,
        target,
    )
    assert all(map(torch.equal, inside, outside))


def loss_with(z, y, label_smoothing, ignore_index):
    return sxt.cross_entropy(z, y, ignore_index=ignore_index, label_smoothing=label_smoothing)


@pytest.mark.parametrize("dynamic", [None, True])
def test_numbers_that_change(dynamic):
    """A number is unknown in the graph once it has had two values, and with dynamic=True from the start."""
    logits, target = torch.randn(7, CLASSES), torch.randint(CLASSES, (7,))
    inside = torch.compile(loss_with, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for options in ((0.1, -100), (0.2, -100), (0.3, 3), (0.0, 4), (1, 5)):
        assert torch.equal(inside(logits, target, *options), loss_with(logits, target, *options))
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\], got 1.5"):
        inside(logits, target, 1.5, -100)


def test_smoothing_of_a_module_that_changes():
    logits, target = torch.randn(7, CLASSES), torch.randint(CLASSES, (7,))
    module = sxt.CrossEntropyLoss(label_smoothing=0.1)
    inside = torch.compile(module, fullgraph=True, backend="aot_eager")
    for module.label_smoothing in (0.1, 0.2, 0.0):
        assert torch.equal(inside(logits, target), module(logits, target))


def test_every_argument():
    """Also a prior that is a NumPy array, and classes along a middle axis."""
    prior = sx.class_prior(range(CLASSES), CLASSES, pseudocount=0.5)
    weight = torch.rand(CLASSES) + 0.5
    outside, inside = both(
        lambda z, y: sxt.cross_entropy(
            z, y, weight, ignore_index=3, label_smoothing=0.1, prior=prior, reduction="sum"
        ),
        torch.randn(2, CLASSES, 3).to(memory_format=torch.contiguous_format),
        torch.randint(CLASSES, (2, 3)),
    )
    assert all(map(torch.equal, inside, outside))


def test_loss_alone():
    logits, target = torch.randn(7, CLASSES), torch.randint(CLASSES, (7,))
    compiled = torch.compile(sxt.cross_entropy, fullgraph=True)
    assert torch.equal(compiled(logits, target), sxt.cross_entropy(logits, target))
    with torch.no_grad():
        z = logits.clone().requires_grad_()
        assert torch.equal(compiled(z, target), sxt.cross_entropy(logits, target))


def test_a_network_and_its_loss():
    """Forward and backward, beside the same without torch.compile, whose order of summation may differ."""
    network = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, CLASSES)
    )
    loss_of = sxt.CrossEntropyLoss(label_smoothing=0.1, prior=torch.full((CLASSES,), 1 / CLASSES))

    def step(x, y):
        return loss_of(network(x), y) / 2

    x, y = torch.randn(7, 5), torch.randint(CLASSES, (7,))
    grads = []
    for run in (step, torch.compile(step, fullgraph=True)):
        network.zero_grad()
        run(x, y).backward()
        grads.append([parameter.grad.clone() for parameter in network.parameters()])
    for got, expected in zip(*grads):
        assert expected.any()
        torch.testing.assert_close(got, expected)


def test_any_number_of_rows_is_one_more_graph():
    counter = CompileCounter()
    compiled = torch.compile(sxt.cross_entropy, fullgraph=True, backend=counter)
    for rows in (5, 7, 9, 100):
        z, y = torch.randn(rows, CLASSES), torch.randint(CLASSES, (rows,))
        assert torch.equal(compiled(z, y), sxt.cross_entropy(z, y))
    assert counter.frame_count == 2  # for 5 rows, then for any number


def test_errors_come_through():
    compiled = torch.compile(sxt.cross_entropy, fullgraph=True)
    with pytest.raises(sx.LabelError, match="^target.1. is 11, but there are 11 classes "):
        compiled(torch.randn(2, CLASSES), torch.tensor([0, CLASSES]))


def test_export():
    """A graph that can be saved has the operator by its name."""

    class Scored(torch.nn.Module):
        def forward(self, z, y):
            return sxt.cross_entropy(z, y)

    z, y = torch.randn(7, CLASSES), torch.randint(CLASSES, (7,))
    with torch.no_grad():
        program = torch.export.export(Scored(), (z, y))
    assert "smoothxent.cross_entropy" in str(program.graph)
    assert torch.equal(program.module()(z, y), sxt.cross_entropy(z, y))
