"""Arguments of smoothxent.torch: CrossEntropyLoss as in torch, and the texts of errors."""

import copy
import pickle
import re
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import smoothxent as sx
import smoothxent.torch as sxt

torch.manual_seed(0)
CLASSES = 5
Z, Y = torch.randn(4, CLASSES), torch.tensor([0, 4, 2, 1])
PRIOR = sx.class_prior([0, 1, 1, 2, 3, 4], CLASSES)
LEGACY = "size_average and reduce args will be deprecated, please use reduction='{}' instead."


class TestCrossEntropyLoss:
    def test_is_torchs_but_for_the_prior(self):
        arguments = (torch.rand(CLASSES), None, 2, None, "sum", 0.1)
        theirs = torch.nn.CrossEntropyLoss(*arguments)
        ours = sxt.CrossEntropyLoss(*arguments, prior=PRIOR)
        assert isinstance(ours, torch.nn.CrossEntropyLoss)
        assert repr(ours) == repr(theirs)
        uniform = sxt.CrossEntropyLoss(*arguments)
        torch.testing.assert_close(uniform(Z, Y), theirs(Z, Y))
        assert abs(ours(Z, Y) - theirs(Z, Y)) > 1e-3

    def test_is_the_function(self):
        options = {"ignore_index": 4, "reduction": "none", "label_smoothing": 0.3, "prior": PRIOR}
        weight = torch.rand(CLASSES)
        for loss_of in (
            made := sxt.CrossEntropyLoss(weight, **options),
            copy.deepcopy(made),
            pickle.loads(pickle.dumps(made)),
        ):
            assert torch.equal(loss_of(Z, Y), sxt.cross_entropy(Z, Y, weight, **options))

    def test_state(self):
        """Loads a state that torch has saved; its own state also has the prior."""
        theirs = torch.nn.CrossEntropyLoss(torch.rand(CLASSES))
        ours = sxt.CrossEntropyLoss(torch.rand(CLASSES))
        ours.load_state_dict(theirs.state_dict())
        assert torch.equal(ours.weight, theirs.weight)
        with_prior = sxt.CrossEntropyLoss(label_smoothing=0.1, prior=PRIOR)
        assert list(with_prior.state_dict()) == ["prior"]
        assert with_prior.double().prior.dtype == torch.float64

    @pytest.mark.parametrize(
        "size_average, reduce, reduction",
        [(True, None, "mean"), (False, None, "sum"), (None, False, "none"), (False, True, "sum")],
    )
    def test_legacy_arguments(self, size_average, reduce, reduction):
        expected = sxt.cross_entropy(Z, Y, reduction=reduction)
        legacy = {"size_average": size_average, "reduce": reduce}
        with pytest.warns(UserWarning, match=re.escape(LEGACY.format(reduction))):
            assert torch.equal(sxt.cross_entropy(Z, Y, **legacy), expected)
        with pytest.warns(UserWarning, match=re.escape(LEGACY.format(reduction))):
            loss_of = sxt.CrossEntropyLoss(**legacy)
        assert torch.equal(loss_of(Z, Y), expected)


def changed(tensor, place, value):
    tensor = tensor.clone()
    tensor[place] = value
    return tensor


U = torch.full((CLASSES,), 0.2)
# (arguments, options, type of the error, its whole text)
REFUSED = [
    ((Z.numpy(), Y), {}, TypeError, "input must be a torch.Tensor, got ndarray"),
    ((Z, [0, 4, 2, 1]), {}, TypeError, "target must be a torch.Tensor, got list"),
    ((Z, None), {}, TypeError, "target must be a torch.Tensor, got NoneType"),
    ((Z, Y, np.ones(CLASSES)), {}, TypeError, "weight must be a torch.Tensor, got ndarray"),
    (
        (Z.to_sparse(), Y),
        {},
        TypeError,
        "input has layout torch.sparse_coo; pass input.to_dense()",
    ),
    (
        (Z.long(), Y),
        {},
        TypeError,
        "input has dtype torch.int64, expected float16, bfloat16, float32 or float64",
    ),
    (
        (Z[0, 0], Y[0]),
        {},
        ValueError,
        "input must have shape (C,), (N, C) or (N, C, d1, ...), got ()",
    ),
    (
        (Z, Y[:3]),
        {},
        ValueError,
        "target must have shape (4,) for input of shape (4, 5) and axis 1, got (3,)",
    ),
    (
        (Z, Y > 1),
        {},
        TypeError,
        "target has dtype bool, expected integer labels, or probabilities in float16, bfloat16, "
        "float32 or float64 (pass target.long() for the classes 0 and 1, target.float() for one-hot labels)",
    ),
    (
        (Z, changed(Y, 2, 5)),
        {},
        sx.LabelError,
        "target[2] is 5, but there are 5 classes (ignore_index is -100)",
    ),
    (
        (torch.randn(2, CLASSES, 3), changed(torch.zeros(2, 3, dtype=torch.int64), (1, 2), -1)),
        {},
        sx.LabelError,
        "target[1, 2] is -1, but there are 5 classes (ignore_index is -100)",
    ),
    (
        (Z, changed(torch.softmax(Z, 1), (1, 2), -0.5)),
        {},
        ValueError,
        "target[1, 2] is -0.5, but probabilities must be finite and non-negative",
    ),
    ((Z, Y, torch.ones(4)), {}, ValueError, "weight must have shape (5,), got (4,)"),
    (
        (Z, Y, changed(torch.ones(5), 3, -2.0)),
        {},
        ValueError,
        "weight[3] is -2.0, but weights must be finite and non-negative",
    ),
    (
        (Z, Y),
        {"label_smoothing": 1.5},
        ValueError,
        "label_smoothing must be in [0, 1], got 1.5",
    ),
    (
        (Z, Y),
        {"label_smoothing": 0.1, "prior": torch.full((4,), 0.25)},
        ValueError,
        "prior must have shape (5,) or be broadcastable to input of shape (4, 5), got (4,)",
    ),
    (
        (Z, Y),
        {"label_smoothing": 0.1, "prior": changed(U, 1, 0.5)},
        ValueError,
        "prior sums to 1.300000011920929, expected 1 within 2.2360679774997895e-06 "
        "(it is used as given: divide counts by their sum, or count labels with class_prior)",
    ),
    (
        (Z, Y),
        {"label_smoothing": "0.1"},
        TypeError,
        "label_smoothing must be a real number, got str",
    ),
    (
        (Z, Y),
        {"label_smoothing": None},
        TypeError,
        "label_smoothing must be a real number, got NoneType",
    ),
    ((Z, Y), {"ignore_index": None}, TypeError, "ignore_index must be an integer, got NoneType"),
    ((Z, Y), {"ignore_index": 1.0}, TypeError, "ignore_index must be an integer, got float"),
    ((Z, Y), {"ignore_index": True}, TypeError, "ignore_index must be an integer, got bool"),
    (
        (Z, Y),
        {"ignore_index": 2**63},
        ValueError,
        "ignore_index must fit 64 bits, got 9223372036854775808",
    ),
    (
        (Z, torch.softmax(Z, 1)),
        {"ignore_index": 0},
        ValueError,
        "ignore_index is 0, but target has probabilities, of which no row is ignored: pass labels, or a "
        "negative ignore_index",
    ),
    (
        (Z, Y),
        {"reduction": "sum_by_nonzero_weights"},
        ValueError,
        'reduction must be "none", "mean" or "sum", got \'sum_by_nonzero_weights\'',
    ),
]


@pytest.mark.parametrize("arguments, options, error, text", REFUSED)
def test_refused(arguments, options, error, text):
    with pytest.raises(error) as caught:
        sxt.cross_entropy(*arguments, **options)
    assert type(caught.value) is error
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "target, remedy",
    [
        (Y[:2], "with the classes along axis 0, pass input.movedim(0, 1)"),
        (Y[:3].float(), "labels must be integers: pass target.long()"),
        (Y[:3, None], "pass target.squeeze(1)"),
        (Y[:2].repeat(3, 1), "pass target.argmax(1), or as probabilities target.float()"),
    ],
)
def test_remedies(target, remedy):
    with pytest.raises((TypeError, ValueError)) as caught:
        sxt.cross_entropy(Z[:3, :2], target)
    assert str(caught.value).endswith(f"{remedy})")


@pytest.mark.parametrize("smoothing", [{}, {"label_smoothing": 0.0}, {"label_smoothing": 0}])
def test_a_prior_without_smoothing(smoothing):
    """Also with an explicit 0, and for modules, when they are made or changed later."""
    text = (
        "prior is given with a label_smoothing of 0, which is PyTorch's default; pass how much goes to "
        "it, for example label_smoothing=0.1, or prior=None"
    )
    changed_later = sxt.CrossEntropyLoss(label_smoothing=0.1, prior=U)
    changed_later.label_smoothing = smoothing.get("label_smoothing", 0.0)
    for call in (
        lambda: sxt.cross_entropy(Z, Y, prior=U, **smoothing),
        lambda: sxt.CrossEntropyLoss(prior=U, **smoothing),
        lambda: changed_later(Z, Y),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            call()
    changed_later.prior = None
    assert torch.equal(changed_later(Z, Y), sxt.cross_entropy(Z, Y))


@pytest.mark.parametrize("name", ["target", "weight", "prior"])
def test_no_gradient_of_other_arguments(name):
    arguments = {"target": torch.softmax(Z, 1), "weight": torch.ones(CLASSES), "prior": U.clone()}
    arguments[name].requires_grad_()
    with pytest.raises(TypeError) as caught:
        sxt.cross_entropy(Z, label_smoothing=0.1, **arguments)
    assert str(caught.value) == (
        f"{name} requires a gradient, but there is one with respect to input alone: pass "
        f"{name}.detach(), or call torch.nn.functional.cross_entropy"
    )
    with torch.no_grad():
        assert sxt.cross_entropy(Z, label_smoothing=0.1, **arguments).isfinite()


@pytest.mark.parametrize("name", ["input", "target", "weight", "prior"])
def test_tensors_on_cuda_are_refused(name):
    """No GPU is needed: a fake tensor, which has only a shape, names its device."""
    arguments = {"input": Z, "target": Y, "weight": torch.ones(CLASSES), "prior": U}
    with FakeTensorMode(allow_non_fake_inputs=True):
        arguments[name] = torch.empty(arguments[name].shape, device="cuda")
        with pytest.raises(TypeError) as caught:
            sxt.cross_entropy(label_smoothing=0.1, **arguments)
    assert str(caught.value) == (
        f"{name} is on device cuda:0, and smoothxent computes on the CPU: pass {name}.cpu(), or call "
        "torch.nn.functional.cross_entropy"
    )


@pytest.mark.parametrize("name", ["input", "target", "weight", "prior"])
def test_tensors_on_meta_are_not_mixed_with_others(name):
    """There would be no numbers to compute with, and the loss would be uninitialized memory."""
    arguments = {"input": Z, "target": Y, "weight": torch.ones(CLASSES), "prior": U}
    for device, of_other in (("cpu", "meta"), ("meta", "cpu")):
        mixed = {
            key: torch.empty_like(value, device=of_other if key == name else device)
            for key, value in arguments.items()
        }
        first = "target" if name == "input" else name
        with pytest.raises(TypeError) as caught:
            sxt.cross_entropy(label_smoothing=0.1, **mixed)
        assert str(caught.value) == (
            f"{first} is on device {mixed[first].device}, and input on {mixed['input'].device}: pass "
            "tensors on one device"
        )


def test_shapes_alone():
    """On the meta device, where models are made without memory, the loss has the right shape."""
    z, y = torch.empty(7, CLASSES, 3, device="meta"), torch.empty(7, 3, dtype=int, device="meta")
    assert sxt.cross_entropy(z, y, reduction="none").shape == (7, 3)
    assert sxt.cross_entropy(z, y).shape == ()
    prior = np.full(CLASSES, 0.2)
    assert sxt.cross_entropy(z[..., 0], y[..., 0], label_smoothing=0.1, prior=prior).is_meta


READ_ONLY = np.broadcast_to(0.2, CLASSES)
UNEVEN = np.array([0.125, 0.25, 0.125, 0.25, 0.25])


class TestPriorsThatAreNoTensors:
    """They are read by the rules of the NumPy functions, which accept more than torch.as_tensor."""

    @pytest.mark.parametrize(
        "prior",
        [
            UNEVEN.tolist(),
            UNEVEN[::-1],
            UNEVEN.astype(">f8"),
            UNEVEN.astype(ml_dtypes.bfloat16),
            np.broadcast_to(UNEVEN, Z.shape),
            READ_ONLY,
        ],
        ids=["list", "reversed", "byte-swapped", "bfloat16", "a row for all", "read-only"],
    )
    @pytest.mark.filterwarnings("error")
    def test_any_array(self, prior):
        expected = sxt.cross_entropy(
            Z, Y, label_smoothing=0.3, prior=torch.tensor(np.array(prior, float))
        )
        assert torch.equal(sxt.cross_entropy(Z, Y, label_smoothing=0.3, prior=prior), expected)
        assert torch.equal(sxt.CrossEntropyLoss(label_smoothing=0.3, prior=prior)(Z, Y), expected)

    def test_lists_keep_the_digits_of_their_numbers(self):
        prior = [0.1, 0.2, 0.3, 0.3, 0.1]  # torch.as_tensor rounds them to float32
        z = Z.double()
        expected = sx.cross_entropy(z, Y, label_smoothing=1.0, prior=prior)
        for compiled in (False, True):
            function = torch.compile(sxt.cross_entropy) if compiled else sxt.cross_entropy
            assert function(z, Y, label_smoothing=1.0, prior=prior).item() == expected

    @pytest.mark.parametrize(
        "prior, text",
        [
            (
                np.ma.array(UNEVEN, mask=[0, 0, 0, 0, 1]),
                "prior is a masked array with masked values; decide what they mean, for example with "
                ".filled(0.0)",
            ),
            (
                "uniform",
                "prior has dtype <U7 (converted from str), expected float16, bfloat16, float32 or "
                "float64 (integers and bools are converted to float64)",
            ),
        ],
    )
    def test_what_is_refused(self, prior, text):
        for function in (
            lambda **options: sxt.cross_entropy(Z, Y, **options),
            sxt.CrossEntropyLoss,
        ):
            with pytest.raises(TypeError) as caught:
                function(label_smoothing=0.1, prior=prior)
            assert str(caught.value) == text

    def test_the_buffer_is_no_memory_of_the_caller(self):
        prior = UNEVEN.copy()
        loss_of = sxt.CrossEntropyLoss(label_smoothing=0.1, prior=prior)
        loss_of.load_state_dict({"prior": U})
        assert np.array_equal(prior, UNEVEN)
        loss_of.load_state_dict({"prior": torch.from_numpy(UNEVEN)})
        prior[:] = 0
        assert np.array_equal(loss_of.prior, UNEVEN)


class TestSpecialValues:
    """Where torch's answer is useless; the rows of the table in the page on PyTorch."""

    def test_minus_infinity_where_a_probability_is_0(self):
        z, q = torch.tensor([[1.0, -torch.inf, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
        assert torch.nn.functional.cross_entropy(z, q).isnan()
        assert torch.equal(sxt.cross_entropy(z, q), sxt.cross_entropy(z, torch.tensor([0])))
        assert sxt.cross_entropy(z, q).isfinite()

    def test_ignored_rows_may_hold_anything(self):
        z = changed(Z, 1, torch.nan).requires_grad_()
        target = changed(Y, 1, -100)
        sxt.cross_entropy(z, target).backward()
        assert torch.equal(z.grad[1], torch.zeros(CLASSES))
        (theirs,) = torch.autograd.grad(torch.nn.functional.cross_entropy(z, target), z)
        assert theirs[1].isnan().all()


def test_without_torch():
    """`import smoothxent` does not need it; `import smoothxent.torch` says what to install."""
    script = """
import sys
sys.modules["torch"] = None
import smoothxent
try:
    import smoothxent.torch
except ImportError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert run.stdout == "smoothxent.torch needs PyTorch: pip install 'smoothxent[torch]'\n"


def test_bfloat16_without_ml_dtypes(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ImportError) as caught:
        sxt.cross_entropy(Z.bfloat16(), Y)
    assert str(caught.value) == "bfloat16 tensors need ml_dtypes: pip install 'smoothxent[torch]'"
    assert sxt.cross_entropy(Z, Y).isfinite()
