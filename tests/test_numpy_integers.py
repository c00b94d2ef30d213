"""NumPy integers are accepted wherever an int is; booleans nowhere."""

import numpy as np
import pytest

import smoothxent as sx
from problems import LABEL_DTYPES, problem

Z, Y, _ = problem(10)
CALLS = {
    "softmax axis": lambda i: sx.softmax(Z, axis=i),
    "softmax axes": lambda i: sx.softmax(Z, axis=(0, i)),
    "log_softmax axis": lambda i: sx.log_softmax(Z, axis=i),
    "logsumexp axis": lambda i: sx.logsumexp(Z, axis=i),
    "logsumexp axes": lambda i: sx.logsumexp(Z, axis=(i,)),
    "top_k_log_softmax k": lambda i: sx.top_k_log_softmax(Z, i),
    "top_k_log_softmax axis": lambda i: sx.top_k_log_softmax(Z, 2, axis=i),
    "log_softmax_at axis": lambda i: sx.log_softmax_at(Z, Y[:, None], axis=i),
    "cross_entropy axis": lambda i: sx.cross_entropy(Z, Y, axis=i),
    "cross_entropy ignore_index": lambda i: sx.cross_entropy(Z, Y, ignore_index=i),
    "cross_entropy_value_and_grad axis": lambda i: sx.cross_entropy_value_and_grad(Z, Y, axis=i),
    "cross_entropy_value_and_grad ignore_index": lambda i: sx.cross_entropy_value_and_grad(Z, Y, ignore_index=i),
    "cross_entropy_terms axis": lambda i: sx.cross_entropy_terms(Z, Y, axis=i),
    "cross_entropy_terms ignore_index": lambda i: sx.cross_entropy_terms(Z, Y, ignore_index=i),
    "smooth_labels num_classes": lambda i: sx.smooth_labels([0], i, label_smoothing=0.1),
    "smooth_labels axis": lambda i: sx.smooth_labels(Y, 10, label_smoothing=0.1, axis=i),
    "label_dropout num_classes": lambda i: sx.label_dropout([0], i, rate=0.5, rng=0),
    "label_dropout ignore_index": lambda i: sx.label_dropout(Y, 10, rate=0.5, rng=0, ignore_index=i),
    "class_prior num_classes": lambda i: sx.class_prior([0], i),
    "class_prior ignore_index": lambda i: sx.class_prior(Y, 10, ignore_index=i),
    "score chunk_rows": lambda i: sx.score(Z, Y, chunk_rows=i),
    "score start": lambda i: sx.score(Z, Y, start=i),
    "score top_k": lambda i: sx.score(Z, Y, top_k=i),
    "score ignore_index": lambda i: sx.score(Z, Y, ignore_index=i),
    "set_num_threads n": lambda i: sx.set_num_threads(i),
    "num_threads n": lambda i: sx.num_threads(i)(sx.get_num_threads)(),
}  # fmt: skip
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
# Numbers where True would be 1.0.
NUMBERS = ("label_smoothing", "temperature", "z_loss", "normalizer")


@every_call
def test_integers_of_numpy(call):
    expected = call(1)
    for dtype in LABEL_DTYPES:
        np.testing.assert_equal(call(np.dtype(dtype).type(1)), expected)
    np.testing.assert_equal(call(np.array(1)), expected)


@every_call
@pytest.mark.parametrize("value", [True, np.True_, 1.0, np.float64(1.0)])
def test_neither_booleans_nor_floats(call, value):
    with pytest.raises(TypeError, match=r" must be an integer|^axis"):
        call(value)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_numpy(name):
    expected = sx.cross_entropy(Z, Y, **{name: 1})
    for dtype in (*LABEL_DTYPES, np.float16, np.float32, np.float64):
        assert sx.cross_entropy(Z, Y, **{name: np.dtype(dtype).type(1)}) == expected
    assert sx.cross_entropy(Z, Y, **{name: np.array(1.0)}) == expected
    refused = [True, np.True_, "0.5", b"0.5", np.complex64(0.5), np.complex128(0.1 + 2j)]
    refused += [np.timedelta64(1), np.void(b"1")]
    for value in (*refused, *map(np.array, refused), *(np.array(one, object) for one in refused)):
        with pytest.raises(TypeError, match=f"^{name} must be a real number, got [bsctv]"):
            sx.cross_entropy(Z, Y, **{name: value})


class Rank:
    """A shape that counts its axes, but is true even if there are none, like that of TensorFlow."""

    def __init__(self, shape):
        self.shape = shape

    def __eq__(self, other):
        return self.shape == other

    __hash__ = None


class Tensor:
    def __init__(self, value):
        self.value, self.shape = np.array(value), Rank(np.shape(value))

    def __float__(self):
        return float(self.value.item())

    def __index__(self):
        return int(self.value.item())


@every_call
def test_integers_of_another_library(call):
    np.testing.assert_equal(call(Tensor(1)), call(1))
    with pytest.raises(TypeError, match=r" must be an integer|^axis"):
        call(Tensor([1]))


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_another_library(name):
    expected = sx.cross_entropy(Z, Y, **{name: 0.5})
    assert sx.cross_entropy(Z, Y, **{name: Tensor(0.5)}) == expected
    with pytest.raises(TypeError, match=f"^{name} must be a real number, got Tensor$"):
        sx.cross_entropy(Z, Y, **{name: Tensor([0.5])})


@every_call
def test_integers_of_more_digits_than_python_writes(call):
    with pytest.raises(ValueError, match=r"must fit 64 bits$"):
        call(10**5000)
