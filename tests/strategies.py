"""Strategies of the property tests: rows of logits, their memory layout, targets and options.

Properties are stated for rows, (N, K). A `Layout` converts rows to an array of up to four axes, with the
classes along any of them and any strides, and converts results back; every call uses one.

Small arrays are drawn number by number, so that a failure shrinks to a few plain numbers. Larger ones
come from a seed, a scale and a level, with special values put in some places.

Hypothesis takes longer to make and check a strategy than to draw from it, so strategies are cached. It takes longer
for a draw than NumPy for a row, so a choice from a known set is a single draw, and arrays that would not shrink
come from a seed.
"""

import functools
import itertools
import math
from typing import NamedTuple

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import smoothxent as sx
from problems import SHORT_ROWS, random_prior
from test_layouts import spread

LARGEST_DRAWN = 48  # elements of an array that is drawn number by number

seeds = st.integers(0, 2**32 - 1)
class_counts = st.one_of(
    st.integers(1, 70), st.sampled_from((*SHORT_ROWS[-6:], 1000, 1023, 1024, 1025, 1100))
)
smoothings = st.sampled_from((0.0, 0.1, 1.0)) | st.floats(0, 1)


class Layout(NamedTuple):
    """Where the elements of (N, K) rows are in memory."""

    batch: tuple[int, ...]  # the shape S of the rows, of product N
    axis: int  # the axis of the classes
    order: tuple[int, ...]  # of the axes in memory, the slowest first
    steps: tuple[int, ...]  # along each of them; negative: backwards

    def lay(self, rows):
        """The rows as a new array of the layout."""
        array = np.moveaxis(rows.reshape(*self.batch, rows.shape[1]), -1, self.axis)
        return spread(array.transpose(self.order), self.steps).transpose(np.argsort(self.order))

    def lay_scalars(self, values):
        """One value for each row, as an array of shape S."""
        return spread(values.reshape(self.batch), self.steps[: len(self.batch)])

    def lay_targets(self, targets):
        return self.lay_scalars(targets) if targets.ndim == 1 else self.lay(targets)

    def lay_options(self, options):
        """The options of rows; those with a value for each row, or for each of its classes, in this layout."""
        laid = dict(options, axis=self.axis)
        for name in ("where", "prior"):
            if np.ndim(options.get(name)) == 2:
                laid[name] = self.lay(options[name])
        if np.ndim(options.get("sample_weight")) == 1:
            laid["sample_weight"] = self.lay_scalars(options["sample_weight"])
        return laid

    def rows(self, array):
        """The (N, K) rows of an array of the layout."""
        moved = np.moveaxis(array, self.axis, -1)
        return moved.reshape(math.prod(self.batch), moved.shape[-1])

    def activations(self, rows, **options):
        """softmax and log_softmax as rows, and logsumexp."""
        z, options = self.lay(rows), self.lay_options(options)
        p, log_p = sx.softmax(z, **options), sx.log_softmax(z, **options)
        return self.rows(p), self.rows(log_p), sx.logsumexp(z, **options).reshape(-1)

    def value_and_grad(self, rows, targets, *, reduction="none", grad_dtype=None, **options):
        """The loss, of each row for "none", and the gradient as rows."""
        options = self.lay_options(options)
        if grad_dtype is not None:
            options["grad_out"] = self.lay(np.ones(rows.shape, grad_dtype))
        value, grad = sx.cross_entropy_value_and_grad(
            self.lay(rows), self.lay_targets(targets), reduction=reduction, **options
        )
        return value.reshape(-1) if reduction == "none" else value, self.rows(grad)

    def terms(self, rows, targets, **options):
        terms = sx.cross_entropy_terms(
            self.lay(rows), self.lay_targets(targets), **self.lay_options(options)
        )
        return sx.CrossEntropyTerms(*(term.reshape(-1) for term in terms))


batches = st.sampled_from(
    [shape for axes in (1, 2, 3) for shape in itertools.product((1, 2, 3, 4), repeat=axes)]
)


@functools.cache
def places_of_axes(axes):
    """The axis of the classes, the order of the axes and the steps along them."""
    steps = itertools.product((1, -1, 2, -3), repeat=axes)
    orders = itertools.permutations(range(axes))
    return st.sampled_from(list(itertools.product(range(-axes, axes), orders, steps)))


@functools.cache
@st.composite
def layouts(draw):
    batch = draw(batches)
    return Layout(batch, *draw(places_of_axes(len(batch) + 1)))


def cast(values, dtype):
    """Cast to a type of logits; numbers out of its range become its largest number."""
    largest = float(ml_dtypes.finfo(dtype).max)
    finite = np.isfinite(values)
    return np.where(finite, np.clip(values, -largest, largest), values).astype(dtype)


@functools.cache
def drawn_rows(shape, specials, largest):
    top = largest or float(np.finfo(np.float32).max)
    numbers = st.floats(-top, top, width=16 if largest else 32)
    elements = numbers | st.sampled_from(specials) if specials else numbers
    return hnp.arrays(np.float64, shape, elements=elements)


counts_of_specials = st.integers(0, 8)
booleans = st.booleans()
scales_up_to_largest = st.sampled_from((0.0, 1.0, 3.0, 30.0))
scales = st.sampled_from((0.0, 1.0, 3.0, 30.0, 1e4, 1e30))


@functools.cache
@st.composite
def rows_of(draw, count, dtype, specials=(), largest=None):
    """(count, K) logits: up to about `largest` in size, with `specials` in some places."""
    shape = count, draw(class_counts)
    if math.prod(shape) <= LARGEST_DRAWN and draw(booleans):
        return cast(draw(drawn_rows(shape, specials, largest)), dtype)
    sizes = scales_up_to_largest if largest else scales
    scale, level = draw(sizes), draw(sizes)
    rng = np.random.default_rng(draw(seeds))
    values = level + scale * rng.standard_normal(shape)
    if largest:
        values = np.clip(values, -largest, largest)
    if specials:
        for _ in range(draw(counts_of_specials)):
            values[tuple(rng.integers(shape))] = rng.choice(specials)
    return cast(values, dtype)


@st.composite
def labels_of(draw, rows):
    count, classes = rows.shape
    return np.random.default_rng(draw(seeds)).integers(0, classes, count)


def prior_of(rng, classes):
    """A skewed distribution, 0 for some classes, but not for the first."""
    u = random_prior(rng, classes)
    if rng.random() < 0.5:
        u[1:] *= rng.random(classes - 1) < 0.8
    return u / u.sum()


@functools.cache
@st.composite
def priors_of(draw, classes):
    return prior_of(np.random.default_rng(draw(seeds)), classes)


OPTIONS = ("prior", "rows of prior", "class_weight", "sample_weight", "where", "temperature", "z_loss")  # fmt: skip
temperatures = st.sampled_from((0.1, 0.5, 1.5, 2.7, 64.0))
z_losses = st.sampled_from((1e-4, 0.25))


@functools.cache
def names_of_options(without):
    names = [name for name in OPTIONS if name not in without]
    chosen = (itertools.combinations(names, count) for count in range(len(names) + 1))
    return st.sampled_from(list(itertools.chain.from_iterable(chosen)))


@st.composite
def options_of(draw, rows, without=()):
    """Any options at once, for rows; the first class is kept, except in one row whose classes may all be masked."""
    count, classes = rows.shape
    chosen = draw(names_of_options(without))
    rng = np.random.default_rng(draw(seeds))
    options = {"label_smoothing": draw(smoothings)}
    if "rows of prior" in chosen:
        options["prior"] = np.stack([prior_of(rng, classes) for _ in range(count)])
    elif "prior" in chosen:
        options["prior"] = prior_of(rng, classes)
    if "class_weight" in chosen:
        options["class_weight"] = rng.uniform(0.1, 4, classes)
    if "sample_weight" in chosen:
        options["sample_weight"] = rng.integers(0, 4, count) * rng.uniform(0.5, 1, count)
    if "where" in chosen:
        options["where"] = rng.random((count, classes)) < 0.7
        options["where"][:, 0] = True
        if count > 1 and rng.random() < 0.5:
            options["where"][rng.integers(count)] = False
    if "temperature" in chosen:
        options["temperature"] = draw(temperatures)
    if "z_loss" in chosen:
        options["z_loss"] = draw(z_losses)
    return options


def only(options, chosen):
    """The options of some of the rows."""
    of_rows = {"where": 2, "prior": 2, "sample_weight": 1}  # by number of dimensions
    return {
        name: value[chosen] if np.ndim(value) == of_rows.get(name) else value
        for name, value in options.items()
    }
