"""NumPy arrays as in its C headers: dtypes, axes, flags."""

import pickle

import numpy as np
import pytest

import smoothxent as sx
from problems import FLOATS, problem
from ulp import assert_same_bits

every_float = pytest.mark.parametrize("dtype", FLOATS)


@every_float
def test_dtypes_that_are_equal_but_other_objects(dtype):
    z, labels, _ = problem(10, dtype)
    other = np.dtype(dtype, metadata={"of": "a file"})
    assert other is not z.dtype
    expected = sx.cross_entropy(z, labels, reduction="none")
    loss = sx.cross_entropy(z.astype(other), labels.astype("q"), reduction="none")
    assert_same_bits(loss, expected)
    unpickled = z.view(pickle.loads(pickle.dumps(other)))
    out = np.empty_like(unpickled)
    assert sx.softmax(unpickled, out=out) is out
    assert_same_bits(out.view(dtype), sx.softmax(z))
    with pytest.raises(TypeError, match="^targets must be integer labels .* got uint64 of"):
        sx.cross_entropy(z, labels[0].astype("Q"))


@pytest.mark.parametrize("rows", [(), (1, 4), (2, 1, 2), (2, 1, 1, 2), (2, *(1,) * 61, 2)], ids=len)
@every_float
def test_any_number_of_axes(rows, dtype):
    z, labels, _ = problem(6, dtype)
    count = np.prod(rows, dtype=int)
    z, labels = z[:count], labels[:count]
    many = z.reshape(*rows, 6)
    out = np.moveaxis(np.empty((6, *rows), dtype), 0, -1)
    assert sx.softmax(many, out=out) is out
    assert_same_bits(out.reshape(-1, 6), sx.softmax(z))
    turned, options = np.moveaxis(many, -1, 0), {"axis": 0, "reduction": "none"}
    loss = sx.cross_entropy(turned, labels.reshape(rows), **options)
    assert np.shape(loss) == rows
    assert_same_bits(loss.reshape(-1), sx.cross_entropy(z, labels, reduction="none"))


def test_outputs_that_only_look_writable():
    z = problem(10, np.float32).logits
    shared, _ = np.broadcast_arrays(z[:1].copy(), z)
    with pytest.raises(ValueError, match="^out is read-only$"):
        sx.softmax(z, out=shared)


def test_outputs_that_only_look_like_arrays():
    class Liar:
        __class__ = np.ndarray
        shape = (1, 3)
        dtype = np.dtype(np.float32)

    assert isinstance(Liar(), np.ndarray)
    for call in (sx.softmax, sx.log_softmax):
        with pytest.raises(TypeError):
            call(np.zeros((1, 3), np.float32), out=Liar())


def test_outputs_that_interleave_share_no_memory():
    z, labels, _ = problem(10, np.float32)
    expected = sx.cross_entropy_value_and_grad(z, labels, reduction="none")
    both = np.empty((len(z), 11), np.float32)
    out, grad_out = both[:, 0], both[:, 1:]
    got = sx.cross_entropy_value_and_grad(z, labels, reduction="none", out=out, grad_out=grad_out)
    for result, output, right in zip(got, (out, grad_out), expected, strict=True):
        assert result is output
        assert_same_bits(np.ascontiguousarray(output), right)
