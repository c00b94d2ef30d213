"""Tensors of torch: read where they lie, bfloat16 too, or refused with the remedy.

torch_stand_in takes the place of torch, and torch itself runs beside it where it is installed.
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


def test_results_in_the_tensor(a_torch):
    for tensor in (a_torch.from_numpy(Z.copy()), a_torch.from_numpy(Z).bfloat16()):
        view = as_logits(tensor, "logits")
        grad = sx.cross_entropy_value_and_grad(tensor, Y)[1]
        assert sx.cross_entropy_value_and_grad(tensor, Y, grad_out=view)[1] is view
        assert_same_bits(tensor.float().numpy(), grad.astype(np.float32))


def test_results_in_a_bfloat16_tensor_as_documented(a_torch):
    tensor = a_torch.from_numpy(Z).bfloat16()
    p = sx.softmax(tensor)
    out = tensor.view(a_torch.int16).numpy().view(ml_dtypes.bfloat16)
    assert sx.softmax(tensor, out=out) is out
    assert_same_bits(tensor.float().numpy(), p.astype(np.float32))


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
