"""float16 and bfloat16 store, float32 computes: every result is the float32 one, rounded once.

bfloat16 is the type of ml_dtypes, which the package recognizes by its name only.
"""

import ml_dtypes
import numpy as np
import pytest

import smoothxent as sx
from problems import one_hot, problem
from test_layouts import LAYOUTS
from ulp import assert_same_bits

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
TYPES = (np.dtype(np.float16), BFLOAT16)
every_type = pytest.mark.parametrize("dtype", TYPES, ids=str)
CLASSES = (1, 2, 7, 16, 17, 33, 300, 1000)
SMOOTH = {"label_smoothing": 0.1, "reduction": "none"}


def draw(classes, dtype):
    z, labels, u = problem(classes, np.float32)
    return z.astype(dtype), labels, u


@every_type
@pytest.mark.parametrize("classes", CLASSES)
def test_float32_rounded_once(dtype, classes):
    z, labels, u = draw(classes, dtype)
    wide = z.astype(np.float32)
    where = np.ones(classes, bool)
    where[1::3] = False
    for options in ({}, {"temperature": 0.7}, {"where": where}):
        for function in (sx.softmax, sx.log_softmax, sx.logsumexp):
            assert_same_bits(function(z, **options), function(wide, **options).astype(dtype))
        loss, grad = sx.cross_entropy_value_and_grad(z, labels, prior=u, **SMOOTH, **options)
        wide_loss, wide_grad = sx.cross_entropy_value_and_grad(
            wide, labels, prior=u, **SMOOTH, **options
        )
        assert_same_bits(loss, wide_loss)  # float32
        assert_same_bits(grad, wide_grad.astype(dtype))
        assert sx.cross_entropy(z, labels, **options) == sx.cross_entropy(wide, labels, **options)
        terms = sx.cross_entropy_terms(z, labels, prior=u, **options)
        wide_terms = sx.cross_entropy_terms(wide, labels, prior=u, **options)
        for one, other in zip(terms, wide_terms, strict=True):
            assert_same_bits(one, other)


@every_type
@pytest.mark.parametrize("classes", [3, 64, 300])
@pytest.mark.parametrize("rows", [5, 16, 100])
def test_rows_stored_class_by_class(dtype, classes, rows):
    z, labels, _ = problem(classes, rows=rows)
    z = z.astype(dtype)
    by_class, out = z.copy(order="F"), np.zeros_like(z, order="F")
    for function in (sx.softmax, sx.log_softmax):
        assert function(by_class, out=out) is out
        assert_same_bits(out, function(z))
    assert_same_bits(sx.logsumexp(by_class), sx.logsumexp(z))
    loss, _ = sx.cross_entropy_value_and_grad(by_class, labels, grad_out=out, **SMOOTH)
    expected, grad = sx.cross_entropy_value_and_grad(z, labels, **SMOOTH)
    assert_same_bits(loss, expected)
    assert_same_bits(out, grad)


@every_type
@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_as_dtype_and_out(dtype, source):
    """`dtype=`, `out=` and `grad_out=`: computed in the wider type, rounded once."""
    z, labels, u = problem(33, source)
    for function in (sx.softmax, sx.log_softmax):
        result = function(z, dtype=dtype)
        assert result.dtype is dtype or result.dtype == dtype
        exact = function(z.astype(np.float64)) if source is np.float64 else function(z)
        assert_same_bits(result, exact.astype(dtype))
        out = np.zeros(z.shape, dtype)
        assert function(z, out=out) is out
        assert_same_bits(out, result)
    grad_out, out = np.zeros(z.shape, dtype), np.zeros(7, dtype)
    sx.cross_entropy_value_and_grad(z, labels, prior=u, out=out, grad_out=grad_out, **SMOOTH)
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, prior=u, **SMOOTH)
    assert_same_bits(grad_out, grad.astype(dtype))
    assert_same_bits(out, loss.astype(dtype))
    scalar = np.zeros((), dtype)
    value = sx.cross_entropy(z, labels, out=scalar)
    assert scalar == np.asarray(value).astype(dtype)


def test_float64_is_not_rounded_twice():
    """log 2 (1 + 2^-12 + a little) is just above a tie of float16: rounded to float32 first, it is the tie."""
    values = 1 + 2.0**-11 + np.array([2.0**-40, -(2.0**-40), 0.0])
    log_p = sx.log_softmax(np.stack([np.zeros(3), -values], -1), dtype=np.float64)
    got = sx.log_softmax(np.stack([np.zeros(3), -values], -1), dtype=np.float16)
    assert_same_bits(got, log_p.astype(np.float16))
    lse = np.zeros(3, np.float16)
    sx.logsumexp(values[:, None], out=lse)  # K = 1: the logit itself
    assert_same_bits(lse, np.array([1 + 2.0**-10, 1, 1], np.float16))


@every_type
def test_outputs_of_any_type_take_the_float32_result(dtype):
    z, labels, _ = draw(33, dtype)
    wide = z.astype(np.float32)
    for kind in (np.float32, np.float64, *TYPES):
        out, lse = np.zeros(z.shape, kind), np.zeros(len(z), kind)
        assert_same_bits(sx.softmax(z, out=out), sx.softmax(wide).astype(kind))
        assert_same_bits(sx.logsumexp(z, out=lse), sx.logsumexp(wide).astype(kind))
        _, grad = sx.cross_entropy_value_and_grad(z, labels, grad_out=out)
        assert_same_bits(grad, sx.cross_entropy_value_and_grad(wide, labels)[1].astype(kind))
        overlapped = out.ravel().view(dtype)[: z.size].reshape(z.shape)
        overlapped[...] = z
        assert_same_bits(sx.softmax(overlapped, out=out), sx.softmax(wide).astype(kind))
    assert_same_bits(sx.softmax(z, dtype=np.float32), sx.softmax(wide))


@every_type
def test_dtype_of_results(dtype):
    """The dtype itself, which for bfloat16 is not one of NumPy's."""
    z, labels, _ = draw(5, dtype)
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, reduction="none")
    assert (loss.dtype, grad.dtype) == (np.float32, dtype)
    assert sx.softmax(z).dtype is z.dtype
    assert sx.logsumexp(z).dtype is z.dtype
    assert sx.logsumexp(z[0]).shape == ()


@every_type
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(dtype, layout):
    z, labels, u = draw(17, dtype)
    turned = LAYOUTS[layout](z)
    assert_same_bits(sx.softmax(turned), sx.softmax(z))
    one = sx.cross_entropy_value_and_grad(turned, labels, prior=u, **SMOOTH)
    other = sx.cross_entropy_value_and_grad(z, labels, prior=u, **SMOOTH)
    assert_same_bits(one[0], other[0])
    assert_same_bits(one[1], other[1])


@every_type
def test_in_place(dtype):
    z, labels, _ = draw(33, dtype)
    expected = sx.cross_entropy_value_and_grad(z, labels)[1]
    for own in (z.copy(), z.copy(order="F")):
        assert sx.cross_entropy_value_and_grad(own, labels, grad_out=own)[1] is own
        assert_same_bits(own, expected)
    wide = np.zeros((7, 40), dtype)
    wide[:, :33] = z
    assert_same_bits(sx.softmax(wide[:, :33], out=wide[:, 5:38]), sx.softmax(z))


@every_type
def test_targets_and_priors(dtype):
    """They are read with the same values as in float64."""
    z, labels, u = problem(8, np.float64)
    q = one_hot(labels, 8, np.float32)
    assert_same_bits(
        sx.cross_entropy(z, q.astype(dtype), **SMOOTH), sx.cross_entropy(z, labels, **SMOOTH)
    )
    dense = (np.full((7, 8), 0.125) + 0.1 * q).astype(dtype)
    wide = dense.astype(np.float64)
    assert_same_bits(sx.cross_entropy(z, dense, **SMOOTH), sx.cross_entropy(z, wide, **SMOOTH))
    u = np.array([0.5, 0.25, 0.125, 0.125, 0, 0, 0, 0]).astype(dtype)
    w = np.arange(8).astype(dtype)
    options = {"prior": u, "class_weight": w, "sample_weight": w[1:], **SMOOTH}
    same = {name: v.astype(np.float64) for name, v in options.items() if hasattr(v, "astype")}
    assert_same_bits(
        sx.cross_entropy(z, labels, **options), sx.cross_entropy(z, labels, **options | same)
    )
    q = sx.smooth_labels(dense, label_smoothing=0.1, prior=u, dtype=np.float64)
    expected = sx.smooth_labels(wide, label_smoothing=0.1, prior=same["prior"], dtype=np.float64)
    assert_same_bits(q, expected)
    prior = sx.class_prior(labels, 8, sample_weight=w[1:])
    assert_same_bits(prior, sx.class_prior(labels, 8, sample_weight=same["sample_weight"]))


def test_all_float16_values_round_as_numpy_rounds():
    """Every finite float16 through K = 1, where the normaliser is the logit; subnormals too."""
    z = np.arange(2**16, dtype=np.uint16).view(np.float16)
    z = z[np.isfinite(z)]
    assert_same_bits(sx.logsumexp(z[:, None]) + np.float16(0), z + np.float16(0))
    halfway = (z[:-1].astype(np.float64) + z[1:].astype(np.float64)) / 2
    for nudge in (1 - 2.0**-40, 1.0, 1 + 2.0**-40):
        out = np.zeros(halfway.shape, np.float16)
        sx.logsumexp((halfway * nudge)[:, None], out=out)
        assert_same_bits(out + np.float16(0), (halfway * nudge).astype(np.float16) + np.float16(0))


@every_type
def test_other_byte_order(dtype):
    z, labels, _ = draw(33, dtype)
    swapped = z.astype(dtype.newbyteorder())
    assert not swapped.dtype.isnative
    assert_same_bits(sx.softmax(swapped), sx.softmax(z))
    loss = sx.cross_entropy(z, sx.softmax(z), **SMOOTH)
    assert_same_bits(sx.cross_entropy(swapped, sx.softmax(z).astype(swapped.dtype), **SMOOTH), loss)
    smoothed = sx.smooth_labels(labels, 33, label_smoothing=0.1, dtype=dtype)
    out = np.zeros(z.shape, swapped.dtype)
    sx.smooth_labels(labels, 33, label_smoothing=0.1, out=out)
    assert_same_bits(out.astype(dtype), smoothed)


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2", "int4"])
def test_other_types_of_ml_dtypes_are_refused(kind):
    z = np.zeros((2, 3), getattr(ml_dtypes, kind))
    with pytest.raises(TypeError, match=rf"^logits has dtype {kind}, expected float16, bfloat16, "):
        sx.softmax(z)
    with pytest.raises(TypeError, match=r"^dtype must be float16, bfloat16, float32 or float64, "):
        sx.softmax(np.zeros((2, 3)), dtype=z.dtype)


def rounded(values, dtype):
    """Non-negative float64 to the nearest number of `dtype`, found among all of them; ties to even."""
    infinity = int(np.array(np.inf, dtype).view(np.uint16))
    grid = np.arange(infinity, dtype=np.uint16).view(dtype)
    middles = (grid[:-1].astype(np.float64) + grid[1:].astype(np.float64)) / 2  # exact
    below = np.searchsorted(middles, values, "left")
    is_tie = middles[np.minimum(below, len(middles) - 1)] == values
    return grid[below + (is_tie & (below % 2 == 1))]


@every_type
class TestSmoothLabels:
    """q' is float64, rounded once; ml_dtypes would round it twice on the way to bfloat16."""

    labels = np.array([3, 0, 9, 5])
    u = problem(10).prior

    def both(self, targets, dtype, **options):
        """As a new array, after a check that an `out` of any layout gets the same."""
        result = sx.smooth_labels(targets, dtype=dtype, **options)
        assert result.dtype == dtype
        for layout in LAYOUTS.values():
            out = layout(np.zeros(result.shape, dtype))
            if out.flags.writeable and result.ndim == 2:
                assert sx.smooth_labels(targets, out=out, **options) is out
                assert_same_bits(out, result)
        return result

    def test_every_tie_and_its_neighbours(self, dtype):
        infinity = int(np.array(np.inf, dtype).view(np.uint16))
        grid = np.arange(infinity, dtype=np.uint16).view(dtype).astype(np.float64)
        ties = (grid[:-1] + grid[1:]) / 2
        for q in (grid, ties, np.nextafter(ties, 0), np.nextafter(ties, np.inf)):
            got = sx.smooth_labels(q[:, None], label_smoothing=0, dtype=dtype)[:, 0]
            assert_same_bits(got, rounded(q, dtype))

    @pytest.mark.parametrize("eps", [0.0, 1e-3, 0.1, 1.0])
    @pytest.mark.parametrize("prior", [None, u, np.tile(u, (4, 1)), np.eye(10)[2].astype(BFLOAT16)])
    def test_labels(self, dtype, eps, prior):
        options = {"label_smoothing": eps, "prior": prior}
        exact = sx.smooth_labels(self.labels, 10, dtype=np.float64, **options)
        assert_same_bits(
            sx.smooth_labels(self.labels, 10, dtype=dtype, **options), rounded(exact, dtype)
        )
        out = np.zeros((10, 4), dtype).T
        assert sx.smooth_labels(self.labels, 10, out=out, **options) is out
        assert_same_bits(out, rounded(exact, dtype))

    def test_probabilities(self, dtype):
        q = np.random.default_rng(3).dirichlet(np.ones(10), 400)
        for options in ({}, {"prior": self.u}, {"where": self.u > 0.05, "prior": self.u}):
            options = {"label_smoothing": 0.1, **options}
            exact = sx.smooth_labels(q, dtype=np.float64, **options)
            assert_same_bits(self.both(q, dtype, **options), rounded(exact, dtype))

    def test_rows_without_classes_are_0(self, dtype):
        where = np.arange(4)[:, None] != 1
        q = sx.smooth_labels(self.labels, 10, label_smoothing=0.1, where=where, dtype=dtype)
        assert (q[1] == 0).all()
        assert (q[[0, 2, 3]] > 0).all()

    def test_in_place(self, dtype):
        q = np.random.default_rng(3).dirichlet(np.ones(10), 2000).astype(dtype)  # over a buffer
        fresh = sx.smooth_labels(q, label_smoothing=0.1, prior=self.u, dtype=dtype)
        assert_same_bits(
            fresh,
            rounded(
                sx.smooth_labels(q, label_smoothing=0.1, prior=self.u, dtype=np.float64), dtype
            ),
        )
        for out in (q.copy(), q.copy(order="F")):
            assert sx.smooth_labels(out, label_smoothing=0.1, prior=self.u, out=out) is out
            assert_same_bits(out, fresh)
        turned = q.copy()
        assert_same_bits(
            sx.smooth_labels(turned, label_smoothing=0.1, prior=self.u, out=turned[::-1]), fresh
        )

    def test_the_name_of_the_dtype(self, dtype):
        by_name = sx.smooth_labels([0], 2, label_smoothing=0.1, dtype=dtype.name)
        assert_same_bits(by_name, sx.smooth_labels([0], 2, label_smoothing=0.1, dtype=dtype))


def test_an_overlapping_output_rounds_once():
    """1 + 2^-8 + 2^-40 is above the middle of 1 and 1 + 2^-7; rounded to float32 first it is the middle."""
    buffer = np.zeros(16, np.uint8)
    z = buffer.view(np.float64)[:, None]
    z[:] = 1 + 2.0**-8 + 2.0**-40
    result = sx.logsumexp(z, out=buffer[:4].view(BFLOAT16))
    assert_same_bits(result, np.full(2, 1 + 2.0**-7, BFLOAT16))


@every_type
@pytest.mark.parametrize("temperature", [7e-4, 0.5, 3.0])
def test_confidences_of_large_logits(dtype, temperature):
    """Far from 0, float32 does not hold the logarithm of the sum of two equal exponentials."""
    z = np.full((3, 2), 6e4, dtype)
    z[1] *= -1
    z[2, 0] = -np.inf
    score = sx.score(z, [0, 1, 1], temperature=temperature)
    # Two of the rows have confidence 1/2, and the first of them predicts its label; the other row has 1.
    assert score.calibration_error == pytest.approx(0, abs=1e-7)
    assert score.accuracy == pytest.approx(2 / 3)
