"""The loss of smoothxent.torch beside torch's own: the same numbers, dtypes, shapes and gradients.

The reference is torch.nn.functional.cross_entropy of the same numbers in float64; differences from it
are in ulp of the result's dtype.
"""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import smoothxent as sx
import smoothxent.torch as sxt
from smoothxent import _torch_operators
from ulp import GRADIENT_OF_ANY, LOSS_OF_ANY, assert_within, stored

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
CLASSES = 11
# torch's float64 reference has errors itself, which matter only for float64 results: those of
# z - logsumexp, at the size of the largest logit, and in the gradient those of its exponential.
OF_TORCH = 8


def after_product(ulp):
    """For the kept gradient times that of the loss: the product may be in another binade, and is rounded
    once more."""
    return 2 * ulp + 0.5


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)
    torch.set_num_threads(1)  # beside other threads, those of OpenMP waste 5 ms


def assert_loss(loss, exact, logits, rows=1):
    """Check a loss, or the sum of those of `rows` rows."""
    loss, at = array(loss), np.abs(array(exact))
    if loss.dtype == np.float64:
        assert_within(OF_TORCH, loss, array(exact), at + rows * size_of(logits))
    else:
        assert_within(stored(LOSS_OF_ANY, loss.dtype), loss, array(exact))


def assert_grad(grad, exact, logits, axis, bound=lambda ulp: ulp):
    """Check a gradient, with errors at the size of the largest of its row: in a class the terms may cancel."""
    grad, at = array(grad), array(exact.abs().amax(axis, keepdim=True))
    if grad.dtype == np.float64:
        assert_within(bound(OF_TORCH), grad, array(exact), at * max(1.0, size_of(logits)))
    else:
        assert_within(bound(stored(GRADIENT_OF_ANY, grad.dtype)), grad, array(exact), at)


def size_of(logits):
    return logits.abs().max().item() if logits.numel() else 0.0


def array(tensor):
    """The memory of a tensor."""
    return _torch_operators.memory(tensor)


def loss_and_grad(function, logits, target, upstream=None, **options):
    """The loss, and the gradient for a gradient `upstream` of the loss, by default ones."""
    z = logits.detach().requires_grad_()
    loss = function(z, target, **options)
    (grad,) = torch.autograd.grad(
        loss, z, torch.ones_like(loss) if upstream is None else upstream.to(loss.dtype)
    )
    return loss.detach(), grad


def in_double(value):
    is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() if is_float else value


def assert_like_torch(logits, target, upstream=None, **options):
    """Value, gradient, shapes and dtypes are those of torch."""
    loss, grad = loss_and_grad(sxt.cross_entropy, logits, target, upstream, **options)
    if target.dtype is torch.uint8:
        target = target.long()  # torch accepts uint8 only without smoothing and for matrices
    theirs = loss_and_grad(functional.cross_entropy, logits, target, upstream, **options)
    for ours, of_torch in zip((loss, grad), theirs):
        assert (ours.dtype, ours.shape) == (of_torch.dtype, of_torch.shape)
        assert ours.stride() == of_torch.stride()
    if upstream is not None:
        upstream = upstream.to(loss.dtype)
    exact = {name: in_double(value) for name, value in options.items()}
    exact_loss, exact_grad = loss_and_grad(
        functional.cross_entropy, *map(in_double, (logits, target, upstream)), **exact
    )
    rows = target.numel() if options["reduction"] == "sum" else 1
    assert_loss(loss, exact_loss, logits, rows)
    axis = min(1, logits.dim() - 1)
    scaling = after_product if upstream is not None else (lambda ulp: ulp)
    assert_grad(grad, exact_grad, logits, axis, scaling)


SHAPES = [(CLASSES,), (7, CLASSES), (4, CLASSES, 3), (2, CLASSES, 3, 2)]
TARGETS = ("labels", "labels of uint8", "some ignored", "probabilities")


def problem(shape, dtype, kind="labels"):
    axis = min(1, len(shape) - 1)
    logits = (3 * torch.randn(shape)).to(dtype)
    if kind == "probabilities":
        # In the dtype of the logits, to which ours are rounded.
        return logits, torch.softmax(2 * torch.randn(shape), axis).to(dtype)
    target = torch.randint(CLASSES, shape[:axis] + shape[axis + 1 :])
    if kind == "some ignored":
        target.view(-1)[::3] = 5
    return logits, target.to(torch.uint8) if kind == "labels of uint8" else target


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_like_torch(dtype, kind, reduction):
    for shape, eps, weighted, scaled in itertools.product(
        SHAPES, (0.0, 0.1, 1.0), (False, True), (False, True)
    ):
        logits, target = problem(shape, dtype, kind)
        options = {"reduction": reduction, "label_smoothing": eps}
        if weighted:
            options["weight"] = (torch.rand(CLASSES) + 0.5).to(dtype)
        if kind == "some ignored":
            options["ignore_index"] = 5
            if not shape[1:]:
                target = (target + 1) % 5  # the only row
        of_losses = shape[:1] + shape[2:] if len(shape) > 1 else ()
        upstream = torch.rand(of_losses if reduction == "none" else ()) + 0.5 if scaled else None
        assert_like_torch(logits, target, upstream, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean"])
class TestDtypeOfTheLoss:
    def test_probabilities_of_another_type(self, dtype, reduction):
        for other in DTYPES:
            logits, target = problem((7, CLASSES), dtype, "probabilities")
            got = sxt.cross_entropy(logits, target.to(other), reduction=reduction)
            theirs = functional.cross_entropy(logits, target.to(other), reduction=reduction)
            assert got.dtype == theirs.dtype

    def test_autocast(self, dtype, reduction):
        """The loss is that of float32 logits, but the logits are not copied to float32, and have a gradient."""
        logits, target = problem((7, CLASSES), dtype)
        with torch.autocast("cpu", torch.bfloat16):
            loss, grad = loss_and_grad(sxt.cross_entropy, logits, target, reduction=reduction)
            theirs = loss_and_grad(functional.cross_entropy, logits, target, reduction=reduction)
        assert [loss.dtype, grad.dtype] == [part.dtype for part in theirs]
        exact = functional.cross_entropy(logits.double(), target, reduction=reduction)
        assert_loss(loss, exact, logits)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nothing_counts(dtype):
    """As in torch: nan for the mean, 0 for the others, and a gradient of 0."""
    logits, target = problem((7, CLASSES), dtype)
    for rows, ignore_index in ((logits, 3), (logits[:0], -100)):
        target = torch.full((len(rows),), 3)
        for reduction in ("none", "mean", "sum"):
            options = {"reduction": reduction, "ignore_index": ignore_index}
            loss, grad = loss_and_grad(sxt.cross_entropy, rows, target, **options)
            theirs = functional.cross_entropy(rows, target, **options)
            torch.testing.assert_close(loss, theirs, rtol=0, atol=0, equal_nan=True)
            assert torch.equal(grad, torch.zeros_like(rows))
    assert sxt.cross_entropy(logits[:0], logits[:0]).isnan()  # no rows of probabilities


def test_where_torch_loses_the_digits():
    """A confident row: torch says 0, for the loss and for the gradient at the label."""
    logits = torch.tensor([[30.0, 0.0, 0.0]])
    loss, grad = loss_and_grad(sxt.cross_entropy, logits, torch.tensor([0]))
    theirs = loss_and_grad(functional.cross_entropy, logits, torch.tensor([0]))
    exact = loss_and_grad(functional.cross_entropy, logits.double(), torch.tensor([0]))
    assert theirs[0] == 0
    assert theirs[1][0, 0] == 0
    assert loss.item() == pytest.approx(exact[0].item(), rel=2e-3)  # the limit of float64
    assert grad[0, 0].item() == pytest.approx(-loss.item(), rel=1e-6)


class TestLayouts:
    """A row has the same bits in any memory layout; the gradient has the strides that torch would choose."""

    def test_channels_last(self):
        logits, target = problem((2, CLASSES, 3, 4), torch.float32)
        self.check(logits, logits.to(memory_format=torch.channels_last), target)

    def test_transposed(self):
        logits, target = problem((7, CLASSES), torch.float32)
        self.check(logits, logits.t().contiguous().t(), target)

    def test_every_second_row_and_class(self):
        logits, target = problem((7, CLASSES), torch.bfloat16)
        apart = torch.zeros(14, 2 * CLASSES, dtype=torch.bfloat16)
        apart[::2, ::2] = logits
        self.check(logits, apart[::2, ::2], target)

    def test_expanded(self):
        logits, _ = problem((1, CLASSES), torch.float32)
        self.check(
            logits.repeat(7, 1), logits.expand(7, CLASSES), torch.arange(7), reduction="none"
        )

    def check(self, logits, otherwise, target, **options):
        assert torch.equal(logits, otherwise)
        expected = loss_and_grad(sxt.cross_entropy, logits, target, **options)
        got = loss_and_grad(sxt.cross_entropy, otherwise, target, **options)
        assert all(map(torch.equal, got, expected))
        assert got[1].stride() == torch.empty_like(otherwise).stride()


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_prior(shape):
    """The same as the smoothed target given as probabilities; with one prior for all rows, and one for each."""
    logits, target = problem(shape, torch.float64)
    one_hot = functional.one_hot(target, CLASSES).movedim(-1, 1).double()
    counted = sx.class_prior(target.flatten(), CLASSES, pseudocount=1.0)
    of_rows = torch.softmax(torch.randn(shape, dtype=torch.float64), 1)
    column = torch.from_numpy(counted).view(-1, *[1] * (len(shape) - 2))
    for prior, full in ((counted, column), (column, column), (of_rows, of_rows)):
        smoothed = 0.7 * one_hot + 0.3 * full
        expected = loss_and_grad(functional.cross_entropy, logits, smoothed)
        got = loss_and_grad(sxt.cross_entropy, logits, target, label_smoothing=0.3, prior=prior)
        assert_loss(got[0], expected[0], logits)
        assert_grad(got[1], expected[1], logits, axis=1)


class Operators(TorchDispatchMode):
    """Records which operators run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


class TestBackward:
    LOGITS, TARGET = problem((7, CLASSES), torch.float32)

    def test_the_gradient_is_made_in_the_forward_pass_and_handed_over(self):
        kept = []
        z = self.LOGITS.clone().requires_grad_()

        def keep(tensor):
            kept.append(tensor.data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = sxt.cross_entropy(z, self.TARGET)
        with Operators() as operators:
            loss.backward()
        assert kept == [z.grad.data_ptr()]
        assert not any("mul" in name for name in operators.names)

    def test_without_a_gradient_there_is_only_the_loss(self):
        z = self.LOGITS.clone().requires_grad_()
        expected = sxt.cross_entropy(z, self.TARGET).detach()
        with Operators() as operators, torch.no_grad():
            assert torch.equal(sxt.cross_entropy(z, self.TARGET), expected)
        with operators, torch.inference_mode():
            assert torch.equal(sxt.cross_entropy(z, self.TARGET), expected)
        with operators:
            assert torch.equal(sxt.cross_entropy(self.LOGITS, self.TARGET), expected)
        ours = [name for name in operators.names if name.startswith("smoothxent")]
        assert ours == ["smoothxent.cross_entropy.default"] * 3

    @pytest.mark.parametrize("reduction", ["none", "mean"])
    def test_again_and_again(self, reduction):
        """Changing a gradient in place does not change the tensors that the graph keeps."""
        z = self.LOGITS.clone().requires_grad_()
        loss = sxt.cross_entropy(z, self.TARGET, reduction=reduction)
        ones = torch.ones_like(loss)
        (first,) = torch.autograd.grad(loss, z, ones, retain_graph=True)
        once = first.clone()
        first.zero_()
        for times in (1, 2, 3):
            loss.backward(ones, retain_graph=True)
            assert torch.equal(z.grad, times * once)
        z.grad.zero_()
        loss.backward(ones)
        assert torch.equal(z.grad, once)
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward(ones)

    def test_part_of_a_larger_loss(self):
        weight = torch.randn(CLASSES, CLASSES)

        def total(function, weight):
            logits = self.LOGITS.to(weight.dtype) @ weight
            first = function(logits, self.TARGET, label_smoothing=0.1)
            return (first + 0.25 * function(logits, self.TARGET) ** 2) / 4 + logits.mean()

        grads = []
        for function, dtype in (
            (sxt.cross_entropy, torch.float32),
            (functional.cross_entropy, torch.float64),
        ):
            w = weight.detach().to(dtype).requires_grad_()
            total(function, w).backward()
            grads.append(w.grad)
        torch.testing.assert_close(grads[0].double(), grads[1], rtol=1e-5, atol=1e-6)

    def test_checkpoint(self):
        z = self.LOGITS.clone().requires_grad_()
        expected = torch.autograd.grad(sxt.cross_entropy(2 * z, self.TARGET), z)[0]
        for use_reentrant in (False, True):
            loss = torch.utils.checkpoint.checkpoint(
                lambda z: sxt.cross_entropy(2 * z, self.TARGET), z, use_reentrant=use_reentrant
            )
            z.grad = None
            loss.backward()
            assert torch.equal(z.grad, expected)

    def test_the_loss_is_not_used(self):
        z = self.LOGITS.clone().requires_grad_()
        loss = sxt.cross_entropy(z, self.TARGET)
        unused = torch.autograd.grad(torch.where(torch.tensor(True), z.sum(), loss), z)[0]
        assert torch.equal(unused, torch.ones_like(z))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_gradcheck(shape, kind, reduction):
    logits, target = problem(shape, torch.float64, kind)
    options = {"reduction": reduction, "label_smoothing": 0.2}
    weight = torch.rand(CLASSES, dtype=torch.float64) + 0.5
    prior = torch.softmax(torch.randn(CLASSES), 0)
    assert torch.autograd.gradcheck(
        lambda z: sxt.cross_entropy(z, target, weight, prior=prior, **options),
        logits.requires_grad_(),
    )


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # its own
def test_opcheck(dtype, kind, reduction):
    for shape in ((7, CLASSES), (2, CLASSES, 3)):
        logits, target = problem(shape, dtype, kind)
        weight, prior = torch.rand(CLASSES), torch.softmax(torch.randn(CLASSES), 0)
        for extra in ((None, None), (weight, prior)):
            rest = (target, *extra, reduction, -100, 0.1, dtype)
            torch.library.opcheck(_torch_operators.value, (logits, *rest))
            torch.library.opcheck(
                _torch_operators.value_and_grad, (logits.clone().requires_grad_(), *rest)
            )


def test_threads():
    logits, target = problem((512, CLASSES, 64), torch.float32)
    results = []
    for threads in (1, 2):
        with sx.num_threads(threads):
            results.append(loss_and_grad(sxt.cross_entropy, logits, target))
    assert all(map(torch.equal, *results))
