"""Derivatives of smoothxent.torch beyond a backward pass: several at once, and unsupported ones."""

import pytest
import torch

import smoothxent as sx
import smoothxent.torch as sxt

CLASSES = 11
LOGITS = torch.randn(7, CLASSES, generator=torch.Generator().manual_seed(0))
TARGET = torch.arange(7)


def test_second_order_is_refused():
    z = LOGITS.clone().requires_grad_()
    for loss in (sxt.cross_entropy(z, TARGET), sxt.cross_entropy(z, TARGET) ** 2):
        with pytest.raises(RuntimeError) as caught:
            torch.autograd.grad(loss, z, create_graph=True)
        assert str(caught.value) == (
            "smoothxent.torch.cross_entropy has no gradient of second order "
            "(create_graph=True); torch.nn.functional.cross_entropy has"
        )


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # its own
@pytest.mark.parametrize("name", ["input", "weight", "target", "prior"])
def test_forward_mode_is_refused(name):
    """Not a derivative of 0."""
    given = {
        "input": LOGITS,
        "target": torch.softmax(LOGITS, 1),
        "weight": torch.ones(CLASSES),
        "prior": torch.full((CLASSES,), 1 / CLASSES),
    }

    def loss_of(value):
        return sxt.cross_entropy(label_smoothing=0.1, **given | {name: value})

    tangent = torch.ones_like(given[name])
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(given[name], tangent)
        check_forward_mode(name, lambda: loss_of(dual))
    check_forward_mode(name, lambda: torch.func.jvp(loss_of, (given[name],), (tangent,)))
    check_forward_mode(name, lambda: torch.func.jacfwd(loss_of)(given[name]))


def check_forward_mode(name, call):
    with pytest.raises(NotImplementedError) as caught:
        call()
    assert str(caught.value) == (
        f"{name} has a tangent, but smoothxent.torch.cross_entropy has no forward-mode "
        "differentiation; torch.nn.functional.cross_entropy has"
    )


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_several_gradients_of_the_loss_at_once(reduction):
    z = LOGITS.clone().requires_grad_()
    loss = sxt.cross_entropy(z, TARGET, reduction=reduction)
    many = torch.tensor([1.0, 0.25, 1.0]).view(-1, *[1] * loss.dim()).expand(3, *loss.shape)
    one_by_one = [torch.autograd.grad(loss, z, one, retain_graph=True)[0] for one in many]
    (at_once,) = torch.autograd.grad(loss, z, many, is_grads_batched=True)
    assert torch.equal(at_once, torch.stack(one_by_one))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.int8], ids=str)
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("ignore_index", [5, -100])
def test_no_gradient_of_the_losses_reaches_ignored_rows(ignore_index, compiled, dtype):
    """Not even if the gradient of their losses is nan, as from a division by 0 in a branch of `where`."""
    target = TARGET.clone()
    if dtype is not torch.uint8 or ignore_index >= 0:
        target[[1, 5]] = ignore_index
    is_ignored = target == ignore_index
    torch.compiler.reset()
    function = sxt.cross_entropy
    if compiled:
        function = torch.compile(function, fullgraph=True, backend="aot_eager")
    z = LOGITS.clone().requires_grad_()
    losses = function(z, target.to(dtype), reduction="none", ignore_index=ignore_index)
    upstream = torch.where(is_ignored, torch.nan, 2.0)
    losses.backward(upstream)
    expected = LOGITS.clone().requires_grad_()
    torch.nn.functional.cross_entropy(
        expected, target, reduction="none", ignore_index=ignore_index
    ).backward(upstream)
    assert torch.equal(z.grad[is_ignored], torch.zeros_like(z.grad[is_ignored]))
    torch.testing.assert_close(z.grad, expected.grad)


@pytest.mark.parametrize("target", [0, 156])
def test_a_label_is_not_the_ignore_index_modulo_256(target):
    z = torch.zeros(1, 200, requires_grad=True)
    loss = sxt.cross_entropy(z, torch.tensor([target], dtype=torch.uint8), reduction="none")
    loss.backward(torch.tensor([2.0]))
    assert z.grad[0, target] == -1.99
    assert z.grad[0, 1] == torch.tensor(0.01)


def test_a_tensor_written_between_the_passes_is_an_error():
    """As with an operation of torch: the backward pass would need the earlier values."""
    for write in (
        lambda out: torch.softmax(out, 1, out=out),
        lambda out: sx.softmax(out, out=out),
        lambda out: sx.cross_entropy_value_and_grad(out, TARGET, grad_out=out),
        lambda out: sx.score(out.clone(), TARGET, log_probs_out=out),
    ):
        changed = LOGITS.clone().requires_grad_() * 1.0
        loss = (changed * changed).sum()
        write(changed.detach())
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_tensors_that_have_no_version_are_written():
    with torch.inference_mode():
        out = torch.empty_like(LOGITS)
    assert sx.softmax(LOGITS, out=out) is out
    assert (out.numpy() == sx.softmax(LOGITS)).all()
