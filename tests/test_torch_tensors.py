"""Tensors of torch: read without a copy, bfloat16 too, or refused with a remedy.

torch_stand_in replaces torch; if torch itself is installed, the tests run with it, too.
"""

import importlib.util
import sys

import ml_dtypes
import numpy as np
import pytest

import smoothxent as sx
import torch_stand_in
from problems import one_hot, problem
from smoothxent._arrays import as_logits, as_mask, as_targets
from test_dtypes import assert_all_same, everything
from ulp import assert_same_bits

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
Z, Y, _ = problem(10)  # (7, 10), (7,)

TORCHES = {"stand-in": torch_stand_in}
if importlib.util.find_spec("torch"):
    import torch

    TORCHES["torch"] = torch


def address_of(a):
    return a.ctypes.data


@pytest.fixture(params=TORCHES)
def a_torch(request, monkeypatch):
    module = TORCHES[request.param]
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_logits_are_read_where_they_lie(a_torch, dtype):
    tensor = a_torch.from_numpy(Z.astype(dtype))
    assert address_of(as_logits(tensor, "logits")) == tensor.data_ptr()
    assert_all_same(everything(tensor, Y), everything(Z.astype(dtype), Y))
    turned = tensor.t()
    assert as_logits(turned, "logits").strides == Z.astype(dtype).T.strides
    assert_same_bits(sx.softmax(turned, axis=0), sx.softmax(Z.astype(dtype)).T)


def test_bfloat16_is_read_where_it_lies(a_torch):
    tensor = a_torch.from_numpy(Z).bfloat16()
    read = as_logits(tensor, "logits")
    assert read.dtype == BFLOAT16
    assert address_of(read) == tensor.data_ptr()
    assert_all_same(everything(tensor, Y), everything(Z.astype(BFLOAT16), Y))
    turned = as_logits(tensor.t(), "logits")
    assert address_of(turned) == tensor.data_ptr()
    assert turned.strides == (2, 20)
    for part in (tensor[1:, ::2], tensor[0], tensor[0, 0]):
        assert address_of(as_logits(part, "logits")) == part.data_ptr()


# Every output of a function: (its name, the call, the shape for logits (7, 10)).
OUTPUTS = [
    ("out", lambda z, **out: sx.softmax(z, **out), (7, 10)),
    ("out", lambda z, **out: sx.log_softmax(z, dtype=np.float64, **out), (7, 10)),
    ("out", lambda z, **out: sx.logsumexp(z, **out), (7,)),
    ("out", lambda z, **out: sx.cross_entropy(z, Y, reduction="none", **out), (7,)),
    ("grad_out", lambda z, **out: sx.cross_entropy_value_and_grad(z, Y, **out)[1], (7, 10)),
    ("out", lambda z, **out: sx.smooth_labels(Y, 10, label_smoothing=0.1, **out), (7, 10)),
]
EACH_OUTPUT = pytest.mark.parametrize("name, call, shape", OUTPUTS)
STORED = [np.dtype(t) for t in (np.float16, BFLOAT16, np.float32, np.float64)]


def tensor_of(a_torch, array):
    """The tensor of an array, sharing its memory unless that is bfloat16."""
    if array.dtype == BFLOAT16:
        return a_torch.from_numpy(array.astype(np.float32)).bfloat16()
    return a_torch.from_numpy(array)


@EACH_OUTPUT
@pytest.mark.parametrize("dtype", STORED, ids=str)
@pytest.mark.parametrize("out_dtype", STORED, ids=str)
def test_results_in_a_tensor(a_torch, name, call, shape, dtype, out_dtype):
    """The tensor has the bits that an array would get, and is itself returned."""
    array = np.full(shape, 7, out_dtype)
    tensor = tensor_of(a_torch, array.copy())
    logits = tensor_of(a_torch, Z.astype(dtype))
    call(Z.astype(dtype), **{name: array})
    assert call(logits, **{name: tensor}) is tensor
    assert not (as_logits(tensor, "it") == 7).any()
    assert_same_bits(as_logits(tensor, "it"), array)


def test_results_in_the_tensor_of_the_logits(a_torch):
    for dtype in STORED:
        tensor = tensor_of(a_torch, Z.astype(dtype))
        grad = sx.cross_entropy_value_and_grad(tensor, Y)[1]
        assert sx.cross_entropy_value_and_grad(tensor, Y, grad_out=tensor)[1] is tensor
        assert_same_bits(as_logits(tensor, "it"), grad)


def test_results_in_a_strided_tensor(a_torch):
    tensor = a_torch.from_numpy(np.zeros((10, 7), np.float32))
    turned = tensor.t()
    assert sx.softmax(Z, out=turned) is turned
    assert_same_bits(tensor.numpy().T, sx.softmax(Z))


def test_scalars_in_a_tensor(a_torch):
    loss, tensor = sx.cross_entropy(Z, Y), a_torch.from_numpy(np.zeros((), np.float32))
    assert sx.cross_entropy(Z, Y, out=tensor) == loss
    assert_same_bits(tensor.numpy(), np.float32(loss))


def test_scores_in_tensors(a_torch):
    log_probs, grad = (a_torch.from_numpy(np.zeros_like(Z)) for _ in range(2))
    sx.score(Z, Y, log_probs_out=log_probs, grad_out=grad, chunk_rows=3)
    assert_same_bits(log_probs.numpy(), sx.log_softmax(Z))
    assert_same_bits(grad.numpy(), sx.cross_entropy_value_and_grad(Z, Y, reduction="sum")[1].copy())


@EACH_OUTPUT
def test_autograd_counts_what_is_written(a_torch, name, call, shape):
    tensor = a_torch.from_numpy(np.zeros(shape, np.float32))
    assert tensor._version == 0
    call(Z, **{name: tensor})
    assert tensor._version > 0
    read = a_torch.from_numpy(Z)
    sx.softmax(read)
    assert read._version == 0


@pytest.mark.parametrize(
    "name, dtype, call",
    [
        *((name, np.int64, call) for name, call, _ in OUTPUTS),
        ("out", np.float32, lambda z, **out: sx.smooth_labels(Y, 10, label_smoothing=0.1, **out)),
        ("grad_out", np.float32, lambda z, **out: sx.score(z, Y, **out)),
        ("weight_grad_out", np.int64, lambda z, **out: of_layer(z, **out)),
        ("weight_grad_out", np.float32, lambda z, **out: of_layer(z, **out)),
    ],
)
def test_autograd_does_not_count_what_is_refused(a_torch, name, dtype, call):
    tensor = a_torch.from_numpy(np.zeros((2, 3, 4), dtype))
    with pytest.raises((TypeError, ValueError), match=f"^{name} (has dtype|must have shape)"):
        call(Z, **{name: tensor})
    assert tensor._version == 0


W = np.cos(np.arange(70, dtype=np.float32)).reshape(7, 10)  # for a linear layer of 7 classes
LAYER_OUTPUTS = [
    ("hidden_grad_out", (7, 10)),
    ("weight_grad_out", (7, 10)),
    ("bias_grad_out", (7,)),
]


def of_layer(hidden, weight=W, labels=Y % 7, bias=W[:, 0], **options):
    return sx.linear_cross_entropy_value_and_grad(hidden, weight, labels, bias=bias, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight_dtype", [np.float16, BFLOAT16, None])
def test_a_linear_layer_of_tensors(a_torch, dtype, weight_dtype):
    arrays = Z.astype(dtype), W.astype(weight_dtype or dtype), Y % 7, W[:, 0].astype(dtype)
    expected = of_layer(*arrays)
    outs = {
        name: a_torch.from_numpy(np.full(shape[::-1], 7, dtype)).t()
        for name, shape in LAYER_OUTPUTS
    }
    tensors = [tensor_of(a_torch, a.copy()) for a in arrays]
    loss, *grads = of_layer(*tensors, **outs)
    assert loss == expected.loss == sx.linear_cross_entropy(*tensors[:3], bias=tensors[3])
    assert [id(grad) for grad in grads] == [id(out) for out in outs.values()]
    for grad, array in zip(grads, expected[1:], strict=True):
        assert_same_bits(grad.numpy(), array)
    assert of_layer(*tensors, hidden_grad_out=tensors[0]).hidden_grad is tensors[0]
    assert_same_bits(tensors[0].numpy(), expected.hidden_grad)


@pytest.mark.parametrize(
    "name, call, shape",
    [*OUTPUTS, *((name, of_layer, shape) for name, shape in LAYER_OUTPUTS)],
)
def test_outputs_that_are_refused(a_torch, name, call, shape):
    """With the whole text, and nothing is written."""
    array = np.full(shape, 7, np.float32)
    whole = a_torch.from_numpy(array)
    reasons = [
        (
            a_torch.from_numpy(array).requires_grad_(),
            "is a tensor that requires a gradient, which would not know what is written; "
            f"pass {name}.detach()",
        ),
        (whole.to("meta"), "is a tensor on device meta, expected the CPU"),
        (
            whole.to_sparse(),
            "is a tensor of layout torch.sparse_coo, expected torch.strided",
        ),
        (whole[1:], f"must have shape {shape}, got {(6, *shape[1:])}"),
    ]
    for tensor, reason in reasons:
        with pytest.raises((TypeError, ValueError)) as caught:
            call(Z, **{name: tensor})
        assert str(caught.value) == f"{name} {reason}"
    with pytest.raises(TypeError, match=f"^{name} has dtype int64, expected float"):
        call(Z, **{name: a_torch.from_numpy(np.zeros(shape, np.int64))})
    assert (array == 7).all()


def test_bfloat16_elsewhere(a_torch):
    u = np.float32([0.5, 0.25, 0.125, 0.125, 0, 0, 0, 0, 0, 0])
    options = {"label_smoothing": 0.1, "reduction": "none"}
    got = sx.cross_entropy(
        Z,
        a_torch.from_numpy(one_hot(Y, 10)).bfloat16(),
        prior=a_torch.from_numpy(u).bfloat16(),
        sample_weight=a_torch.from_numpy(np.arange(7)).bfloat16(),
        **options,
    )
    expected = sx.cross_entropy(Z, one_hot(Y, 10), prior=u, sample_weight=np.arange(7.0), **options)
    assert_same_bits(got, expected)


def test_bfloat16_without_ml_dtypes(a_torch, monkeypatch):
    tensor = a_torch.from_numpy(Z).bfloat16()
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError) as caught:
        sx.softmax(tensor)
    assert str(caught.value) == (
        "logits is a tensor of dtype bfloat16, which NumPy does not have; install ml_dtypes, or "
        "pass logits.float()"
    )
    assert_same_bits(sx.softmax(tensor.float()), sx.softmax(tensor.float().numpy()))


def check_option(a_torch, name, value, expected, number):
    """`value` is refused as that of NumPy is; one `number` in an array is accepted."""
    for make in (np.asarray, lambda array: a_torch.from_numpy(np.asarray(array))):
        with pytest.raises(TypeError, match=f"^{name} must be {expected}"):
            sx.cross_entropy(Z, Y, **{name: make(value)})
    one = a_torch.from_numpy(np.asarray(number))
    assert sx.cross_entropy(Z, Y, **{name: one}) == sx.cross_entropy(Z, Y, **{name: number})


@pytest.mark.parametrize("value", [True, [0.25], 0.25 + 0j])
@pytest.mark.parametrize("name", ["label_smoothing", "temperature", "z_loss"])
def test_options_that_are_no_real_number(a_torch, name, value):
    check_option(a_torch, name, value, "a real number, got ", 0.25)


@pytest.mark.parametrize("value", [True, [1]])
@pytest.mark.parametrize("name", ["axis", "ignore_index"])
def test_options_that_are_no_integer(a_torch, name, value):
    check_option(a_torch, name, value, "an integer", 1)


def test_labels_and_masks(a_torch):
    for dtype in ("uint8", "int16", "int32", "int64"):
        labels = a_torch.from_numpy(Y.astype(dtype))
        assert address_of(as_targets(labels, "targets")) == labels.data_ptr()
        assert_all_same(everything(Z, labels), everything(Z, Y))
    where = a_torch.from_numpy(Z < 2)
    assert address_of(as_mask(where, "where")) == where.data_ptr()
    assert_same_bits(sx.softmax(Z, where=where), sx.softmax(Z, where=Z < 2))


def test_gradients_are_refused(a_torch):
    for tensor in (a_torch.from_numpy(Z.copy()), a_torch.from_numpy(Z).bfloat16()):
        with pytest.raises(TypeError) as caught:
            sx.softmax(tensor.requires_grad_())
        assert str(caught.value) == (
            "logits is a tensor that requires a gradient, which a NumPy result cannot carry; "
            "pass logits.detach().cpu()"
        )
        assert sx.softmax(tensor.detach()).shape == Z.shape


@pytest.mark.parametrize("name", ["label_smoothing", "temperature", "z_loss"])
def test_gradients_of_options_are_refused(a_torch, name):
    option = a_torch.from_numpy(np.asarray(0.5)).requires_grad_()
    with pytest.raises(TypeError) as caught:
        sx.cross_entropy(Z, Y, **{name: option})
    assert str(caught.value) == (
        f"{name} is a tensor that requires a gradient, which a NumPy result cannot carry; "
        f"pass {name}.item()"
    )
    sx.cross_entropy(Z, Y, **{name: option.detach()})


def test_sparse_tensors_are_refused(a_torch):
    for tensor in (a_torch.from_numpy(Z), a_torch.from_numpy(Z).bfloat16()):
        with pytest.raises(
            TypeError, match=r"^logits is a sparse array; pass logits.to_dense\(\)$"
        ):
            sx.softmax(tensor.to_sparse())
        assert sx.softmax(tensor.to_sparse().to_dense()).shape == Z.shape


def test_complex_tensors_are_refused(a_torch):
    with pytest.raises(TypeError, match="^logits has dtype complex64, expected float16, "):
        sx.softmax(a_torch.from_numpy(Z.astype(np.complex64)))
