"""`where`: False removes a class from the softmax, the prior and the gradient."""

import numpy as np
import pytest

import smoothxent as sx
import ulp
from options_reference import Problem, effective
from problems import FLOATS, one_hot, problem, random_probabilities
from reference import Real, log_softmax, logsumexp, softmax
from ulp import assert_same_bits, assert_within

every_float = pytest.mark.parametrize("dtype", FLOATS)
INF, NAN = np.inf, np.nan
GRADIENT = ulp.GRADIENT + 1


def mask_of(shape, seed=0):
    kept = np.random.default_rng(seed).random(shape) < 0.6
    kept[..., 0] = True
    return kept


@every_float
@pytest.mark.parametrize("classes", [1, 2, 17, 64, 65, 300, 2049])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_activations(dtype, classes, temperature):
    z = problem(classes, dtype).logits
    where = mask_of(z.shape)
    exact, level = effective(z, where, temperature)
    options = {"where": where, "temperature": temperature}
    p, log_p = sx.softmax(z, **options), sx.log_softmax(z, **options)
    assert_within(ulp.SOFTMAX, p, softmax(exact))
    assert_within(ulp.LOG_SOFTMAX, log_p, log_softmax(exact))
    assert (p[~where] == 0).all()
    assert (log_p[~where] == -INF).all()
    got, excess = sx.logsumexp(z, **options), logsumexp(exact)
    assert_within(ulp.LOGSUMEXP, got, level + excess, at=np.maximum(np.abs(level), excess))


@every_float
@pytest.mark.parametrize("poison", [NAN, INF, -INF, 1e30])
def test_masked_logits_are_not_read(dtype, poison):
    """The logit of a masked class changes no bit."""
    z, labels, u = problem(33, dtype)
    where = mask_of(z.shape)
    where[np.arange(7), labels] = True
    dirty = np.where(where, z, dtype(poison))
    for one, other in zip(results(z, labels, u, where), results(dirty, labels, u, where)):
        assert_same_bits(one, other)


def results(z, labels, u, where, axis=-1):
    """Everything that takes a mask."""
    smooth = {"label_smoothing": 0.1, "prior": u, "reduction": "none"}
    options = {"where": where, "axis": axis}
    return (
        sx.softmax(z, **options),
        sx.log_softmax(z, **options),
        sx.logsumexp(z, **options),
        *sx.cross_entropy_value_and_grad(z, labels, **smooth, **options),
        *sx.cross_entropy_terms(z, labels, prior=u, **options),
    )


@every_float
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("has_prior", [False, True])
@pytest.mark.parametrize("classes", [3, 40, 400])
def test_slicing_the_classes_out(dtype, label_smoothing, has_prior, classes):
    """The same as without those classes, with u renormalised over the others; labels and one-hot."""
    z, labels, u = problem(classes, dtype)
    where = np.ones(classes, bool)
    where[1::2] = False
    labels = labels // 2 * 2
    sliced = u[where] / u[where].sum() if has_prior else None
    expected = Problem(z[:, where], labels // 2, label_smoothing=label_smoothing, prior=sliced)
    for targets in (labels, one_hot(labels, classes, dtype)):
        loss, grad = sx.cross_entropy_value_and_grad(
            z,
            targets,
            where=where,
            label_smoothing=label_smoothing,
            prior=u if has_prior else None,
            reduction="none",
        )
        assert_within(ulp.LOSS, loss, expected.losses())
        size = expected.gradient_size()
        assert_within(GRADIENT, grad[:, where], expected.gradient(), at=size)
        assert (grad[:, ~where] == 0).all()


@every_float
def test_terms_recombine(dtype):
    """loss = (1 - eps) nll + eps prior_cross_entropy; KL + H(u) of the renormalised prior."""
    z, labels, u = problem(40, dtype)
    where = mask_of(z.shape)
    where[np.arange(7), labels] = True
    rtol = 16 * np.finfo(dtype).eps
    for prior in (None, u, np.broadcast_to(u, z.shape).copy()):
        options = {"where": where, "prior": prior, "temperature": 1.5}
        terms = sx.cross_entropy_terms(z, labels, **options)
        loss = sx.cross_entropy(z, labels, label_smoothing=0.3, reduction="none", **options)
        np.testing.assert_allclose(
            0.7 * terms.nll + 0.3 * terms.prior_cross_entropy, loss, rtol=rtol
        )
        np.testing.assert_allclose(
            terms.prior_kl + terms.prior_entropy, terms.prior_cross_entropy, rtol=rtol
        )
        v = np.where(where, 1 if prior is None else prior, 0.0)
        v /= v.sum(-1, keepdims=True)
        entropy = -np.where(v == 0, 0, v * np.log(np.where(v == 0, 1, v))).sum(-1)
        np.testing.assert_allclose(terms.prior_entropy, entropy, rtol=rtol)
        np.testing.assert_array_equal(
            terms.logsumexp, sx.logsumexp(z, where=where, temperature=1.5)
        )


@every_float
class TestEdges:
    z = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]])

    def test_mass_masked_by_where(self, dtype):
        q = np.array([[0.5, 0.0, 0.5], [0.5, 0.5, 0.0]], dtype)
        loss, grad = sx.cross_entropy_value_and_grad(
            self.z.astype(dtype), q, where=[True, True, False], reduction="none"
        )
        assert loss[0] == INF
        assert np.isfinite(loss[1])
        assert np.isfinite(grad).all()
        assert (grad[:, 2] == 0).all()

    def test_special_values_beside_the_mask(self, dtype):
        """NaN or +inf in a kept class makes the row nan, and so does -inf in all kept classes."""
        z = np.array([[NAN, 0, 1], [INF, 0, 1], [-INF, -INF, 1], [0, 0, NAN]], dtype)
        where = np.array([True, True, False])
        p, loss = (
            sx.softmax(z, where=where),
            sx.cross_entropy(z, [1] * 4, where=where, reduction="none"),
        )
        assert np.isnan(p[:3, :2]).all()
        assert (p[:, 2] == 0).all()
        assert np.isnan(loss[:3]).all()
        np.testing.assert_array_equal(p[3], [0.5, 0.5, 0])
        assert np.isfinite(loss[3])
        assert np.isnan(sx.logsumexp(z, where=where)[0])
        assert (sx.logsumexp(z, where=where)[1:3] == [INF, -INF]).all()

    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    def test_one_class_left(self, dtype, label_smoothing):
        """loss 0; no more than the rounding of the sum in the gradient"""
        loss, grad = sx.cross_entropy_value_and_grad(
            self.z.astype(dtype),
            [1, 1],
            where=[False, True, False],
            label_smoothing=label_smoothing,
            reduction="none",
        )
        assert (loss == 0).all()
        assert np.abs(grad).max() <= ulp.GRADIENT * np.finfo(dtype).eps


@every_float
def test_rows_of_weight_0_need_no_mass_of_the_prior(dtype):
    """Such a row does not count, so nothing is asked of its prior, in every function with weights."""
    rng = np.random.default_rng(3)
    z, labels = rng.standard_normal((4, 3)).astype(dtype), np.array([0, 1, 0, 1])
    where = np.array([[True, True, True], [False, True, True], [True, True, False], [True] * 3])
    s, options = np.array([1.0, 0.0, 2.0, 0.0]), {"label_smoothing": 0.1, "prior": [1.0, 0.0, 0.0]}
    expected = sx.cross_entropy(z, labels, where=where, sample_weight=s, **options)
    score = sx.score(z, labels, where=where, sample_weight=s, chunk_rows=3, **options)
    layer = np.eye(3, dtype=dtype)
    linear = sx.linear_cross_entropy(z, layer, labels, where=where, sample_weight=s, **options)
    others = sx.score(
        z[[0, 2]], labels[[0, 2]], where=where[[0, 2]], sample_weight=s[[0, 2]], **options
    )
    assert score.as_dict() == others.as_dict() | {"ignored_rows": 2}
    assert score.loss == pytest.approx(expected, rel=1e-6)
    assert linear == pytest.approx(expected, rel=1e-6)


@every_float
def test_everything_there(dtype):
    """A mask without False changes no value of the softmax, and the loss only by rounding."""
    z, labels, u = problem(65, dtype)
    assert_same_bits(sx.softmax(z, where=True), sx.softmax(z))
    assert_same_bits(sx.log_softmax(z, where=np.ones(65, bool)), sx.log_softmax(z))
    loss = sx.cross_entropy(z, labels, where=True, reduction="none")
    assert_same_bits(loss, sx.cross_entropy(z, labels, reduction="none"))
    smooth = {"label_smoothing": 0.1, "prior": u, "reduction": "none"}
    loss = sx.cross_entropy(z, labels, where=True, **smooth)
    assert_within(ulp.LOSS, loss, Problem(z, labels, label_smoothing=0.1, prior=u).losses())


@every_float
def test_layouts_of_the_mask(dtype):
    """Any strides, broadcasting as in NumPy, any axis; the mask is not changed."""
    z, labels, u = problem(33, dtype)
    where = mask_of(z.shape)
    expected = results(z, labels, u, where)
    wide = np.zeros((14, 99), bool)
    wide[::2, ::3] = where
    backwards = np.ascontiguousarray(where[::-1, ::-1])[::-1, ::-1]
    for turned in (where.copy(order="F"), wide[::2, ::3], backwards, where.tolist()):
        for one, other in zip(results(z, labels, u, turned), expected, strict=True):
            assert_same_bits(one, other)
    row = results(z, labels, u, np.broadcast_to(where[0], z.shape))
    for one, other in zip(results(z, labels, u, where[0]), row, strict=True):
        assert_same_bits(one, other)
    moved = results(z.T, labels, u, where.T, axis=0)
    for one, other in zip(moved, expected, strict=True):
        assert_same_bits(one.T, other)


@every_float
@pytest.mark.parametrize("classes", [33, 100, 300])
def test_masks_of_several_rows(dtype, classes):
    """A mask along some of the batch axes has the bits of its copies for each row."""
    z = problem(classes, dtype, rows=66).logits.reshape(3, 22, classes)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, (3, 22))
    priors = random_probabilities(rng, 66, classes, dtype).reshape(z.shape)
    for shape in ((3, 1, classes), (1, 22, classes), (22, 1), (classes,)):
        where = mask_of(shape)
        for u in (None, priors[0, 0], priors):
            copies = results(z, labels, u, np.broadcast_to(where, z.shape).copy())
            for one, other in zip(results(z, labels, u, where), copies, strict=True):
                assert_same_bits(one, other)


@every_float
def test_in_place_and_overlap(dtype):
    z, labels, u = problem(33, dtype)
    where = mask_of(z.shape)
    options = {"where": where, "label_smoothing": 0.1, "prior": u}
    expected = sx.cross_entropy_value_and_grad(z, labels, **options)[1]
    for destination in (z.copy(), np.zeros_like(z, order="F"), np.zeros((7, 66), dtype)[:, ::2]):
        destination[...] = z
        grad = sx.cross_entropy_value_and_grad(
            destination, labels, grad_out=destination, **options
        )[1]
        assert grad is destination
        assert_same_bits(grad, expected)
        destination[...] = z
        p = sx.softmax(destination, where=where, out=destination)
        assert_same_bits(p, sx.softmax(z, where=where))
    # The mask shares the memory of the output, which has rows of several tiles.
    z = problem(33, dtype, rows=50).logits
    where = mask_of(z.shape)
    raw = np.zeros(z.nbytes, np.uint8)
    out = raw.view(dtype).reshape(z.shape)
    mask = raw[: z.size].view(bool).reshape(z.shape)
    mask[...] = where
    assert_same_bits(sx.softmax(z, where=mask, out=out), sx.softmax(z, where=where))


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("has_prior", [False, True])
def test_smooth_labels(axis, has_prior):
    """q' with u renormalised: its cross-entropy is that of the labels with the same mask."""
    z, labels, u = problem(9, np.float64)
    where = mask_of(z.shape)
    where[np.arange(7), labels] = True
    where[3] = False
    prior = u if has_prior else None
    q = sx.smooth_labels(
        labels,
        9,
        label_smoothing=0.3,
        prior=prior,
        where=np.moveaxis(where, -1, axis),
        axis=axis,
        dtype=np.float64,
    )
    q = np.moveaxis(q, axis, -1)
    assert (q[3] == 0).all()
    kept = [0, 1, 2, 4, 5, 6]
    np.testing.assert_allclose(q[kept].sum(-1), 1, rtol=1e-15)
    loss = sx.cross_entropy(z, q, where=where, reduction="none")
    expected = sx.cross_entropy(
        z, labels, where=where, label_smoothing=0.3, prior=prior, reduction="none"
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-14)
    q = random_probabilities(np.random.default_rng(2), 7, 9, np.float64)
    u = np.full(9, 1 / 9) if prior is None else u
    v = np.where(where, u, 0) / np.maximum(np.where(where, u, 0).sum(-1, keepdims=True), 1e-9)
    expected = np.where(where.any(-1, keepdims=True), 0.7 * q + 0.3 * v, 0)
    got = sx.smooth_labels(q, label_smoothing=0.3, prior=prior, where=where, dtype=np.float64)
    np.testing.assert_allclose(got, expected, rtol=1e-14)


@every_float
@pytest.mark.parametrize("classes", [5, 70])
@pytest.mark.parametrize("mass", [1e-17, 1e-40, 1e-50, 1e-200, 1e-310])
def test_little_of_the_prior_is_kept(dtype, classes, mass):
    """u is renormalised over the kept classes, however small their share; here only two of them have mass."""
    z, labels, _ = problem(classes, dtype)
    u = np.zeros(classes)
    u[:3] = 1, mass, mass
    where = np.arange(classes) > 0
    labels = np.maximum(labels, 1)
    q = random_probabilities(np.random.default_rng(3), len(z), classes, np.float64) * where
    for targets in (labels, q / q.sum(-1, keepdims=True)):
        got, wanted = (
            sx.cross_entropy_value_and_grad(
                z, targets, label_smoothing=0.3, prior=prior, where=where, reduction="none"
            )
            for prior in (u, (u == mass) / 2)
        )
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6 if dtype == np.float32 else 1e-14)


# Priors of which the mask keeps one class with nearly all of what is left, and others.
ONE_LARGE = [
    ([1 - 2e-15, 1e-15, 1e-15], [True, False, True]),
    ([0.3, 3e-14, 0.7 - 3e-14], [True, True, False]),
    ([1 - 1e-7, 7e-23, 1e-7], [False, True, True]),
    ([0.25, 0.75, 0.0], [True, False, False]),
]


@every_float
@pytest.mark.parametrize("rest", [0, 61, 62, 20000])
@pytest.mark.parametrize("prior, kept", ONE_LARGE)
def test_entropy_of_a_prior_with_one_large_class(dtype, rest, prior, kept):
    """log(u / sum) loses digits where u / sum is close to 1."""
    u = np.concatenate([np.zeros(rest), prior])
    where = np.concatenate([np.ones(rest, bool), kept])
    left = np.sort(u[where].astype(Real))
    others, large = left[:-1], left[-1]
    total = others.sum() + large
    terms = -others / total * np.log(np.where(others == 0, 1, others / total))
    entropy = terms.sum() + large / total * np.log1p(others.sum() / large)
    z = np.log(np.maximum(u, 1e-30)).astype(dtype)[None]
    results = sx.cross_entropy_terms(z, [where.argmax()], prior=u, where=where)
    assert_within(2, results.prior_entropy, entropy[None])
    divergence = np.maximum(results.prior_cross_entropy.astype(Real) - entropy, 0)
    assert_within(4, results.prior_kl, divergence, at=results.prior_cross_entropy.astype(Real))


@pytest.mark.parametrize("classes", [2, 64, 65, 1000, 16385])
def test_a_masked_label_in_rows_of_any_length(classes):
    z, where = np.zeros((2, classes), np.float32), np.arange(classes) != 1
    losses, grad = sx.cross_entropy_value_and_grad(z, [1, 0], where=where, reduction="none")
    assert losses[0] == np.inf > losses[1]
    assert np.isfinite(grad).all()
    assert (grad[:, 1] == 0).all()


def test_rows_that_do_not_count_need_no_mass_of_the_prior():
    z, where = np.zeros((2, 3)), [[False, True, True], [True, True, True]]
    options = {"label_smoothing": 0.1, "prior": [1.0, 0.0, 0.0]}
    wanted = sx.cross_entropy(z[1:], [1], **options)
    assert sx.cross_entropy(z, [-100, 1], where=where, **options) == wanted
    assert sx.cross_entropy(z, [1, 1], where=where, sample_weight=[0, 1], **options) == wanted


def test_the_first_row_that_counts_is_named_if_rows_share_a_mask():
    z, labels, where = np.zeros((2, 3, 4)), [[0, 1, 2], [-100, -100, 3]], np.zeros((2, 1, 4), bool)
    where[1, :, 2:] = True
    options = {"label_smoothing": 0.1, "prior": [0.5, 0.5, 0.0, 0.0]}
    with pytest.raises(ValueError, match=r"row \[1, 2\]"):
        sx.cross_entropy(z, labels, where=where, **options)
    labels[1][2] = -100
    assert np.isnan(sx.cross_entropy(z, labels, where=where, **options))


@pytest.mark.parametrize("options", [{"prior": True}, {"class_weight": True}], ids=str)
def test_the_label_of_a_long_row_has_its_own_weight(options):
    classes = 20000
    z, labels, u = problem(classes, rows=3)
    where = np.arange(classes) % 5 != 2
    labels = labels - (labels % 5 == 2)
    options = dict.fromkeys(options, u) | {"where": where, "label_smoothing": 0.9}
    losses, grad = sx.cross_entropy_value_and_grad(z, labels, reduction="none", **options)
    exact = Problem(z, labels, **options)
    assert_within(4, losses, exact.losses())
    assert_within(8, grad, exact.gradient(), at=exact.gradient_size())
