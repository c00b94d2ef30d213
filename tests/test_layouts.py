"""Any strides, any alignment, any axis, any `out`: the bits of the contiguous array."""

import itertools
from functools import partial

import numpy as np
import pytest

import smoothxent as sx
from problems import FLOATS, problem
from ulp import assert_same_bits

every_float = pytest.mark.parametrize("dtype", FLOATS)
OPTIONS = {"label_smoothing": 0.1, "reduction": "none"}
MANY = 2000


def everything(z, labels, prior, axis=-1):
    """All the results, with the classes moved to the last axis."""

    def last(a):
        return np.moveaxis(a, axis, -1)

    loss, grad = sx.cross_entropy_value_and_grad(z, labels, prior=prior, axis=axis, **OPTIONS)
    return (
        last(sx.softmax(z, axis=axis)),
        last(sx.log_softmax(z, axis=axis)),
        sx.logsumexp(z, axis=axis),
        loss,
        last(grad),
        *sx.cross_entropy_terms(z, labels, prior=prior, axis=axis),
    )


def assert_all_same(got, expected):
    for one, other in zip(got, expected, strict=True):
        assert_same_bits(one, other)


def misaligned(z):
    """The same array one byte off its alignment."""
    raw = np.frombuffer(b"\0" + z.tobytes() + b"\0" * z.itemsize, np.uint8)[1 : 1 + z.nbytes]
    view = raw.view(z.dtype).reshape(z.shape)
    assert not view.flags.aligned
    return view


def spread(z, steps):
    """The same values with every axis strided by `steps` (negative: backwards) in an array of nan or -1."""
    shape = tuple(n * abs(step) + 1 for n, step in zip(z.shape, steps))
    large = np.full((*shape, z.itemsize), 0xFF, np.uint8).view(z.dtype)[..., 0]
    view = large[tuple(slice(1, None, step) if step > 0 else slice(-1, 0, step) for step in steps)]
    view = view[tuple(slice(n) for n in z.shape)]
    view[...] = z
    return view


LAYOUTS = {
    "Fortran": lambda z: z.copy(order="F"),
    "negative strides": lambda z: z[::-1, ::-1].copy()[::-1, ::-1],
    "rows apart": lambda z: spread(z, (3, 1)),
    "classes apart": lambda z: spread(z, (1, 2)),
    "both backwards and apart": lambda z: spread(z, (-2, -3)),
    "classes far apart": lambda z: spread(z.T, (5, 1)).T,
    "misaligned": misaligned,
    "misaligned Fortran": lambda z: misaligned(z.T.copy()).T,
    "field of a record": lambda z: record_field(z),
    "read-only": lambda z: read_only(z),
}


def read_only(z):
    z = z.copy()
    z.flags.writeable = False
    return z


def record_field(z):
    """Strides that are no multiple of the item size."""
    records = np.zeros(z.shape, np.dtype([("tag", "i1"), ("z", z.dtype)]))
    records["z"] = z
    return records["z"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 17, 32, 33, 65, 257, 1025, 16385])
@every_float
def test_layout_of_the_logits(layout, classes, dtype):
    z, labels, u = problem(classes, dtype, rows=23 if classes < 300 else 3)
    turned = LAYOUTS[layout](z)
    before = turned.copy()
    assert_all_same(everything(turned, labels, u), everything(z, labels, u))
    assert_same_bits(turned, before)


@every_float
@pytest.mark.parametrize("classes", [5, 16, 33, 300])
def test_class_axis_anywhere(dtype, classes):
    z, labels, u = problem(classes, dtype, rows=306)
    flat = everything(z, labels, u)
    for batch in ((306,), (18, 17), (51, 6), (2, 9, 17)):
        expected = [r.reshape(batch + r.shape[1:]) for r in flat]
        for axis in range(len(batch) + 1):
            moved = np.moveaxis(z.reshape(*batch, classes), -1, axis)
            for array in (moved, np.ascontiguousarray(moved)):
                for signed in (axis, axis - array.ndim):
                    got = everything(array, labels.reshape(batch), u, axis=signed)
                    assert_all_same(got, expected)


@every_float
@pytest.mark.parametrize("classes", [3, 33, 1000])
def test_zero_strides(dtype, classes):
    z, labels, u = problem(classes, dtype)
    row = np.broadcast_to(z[2], z.shape)
    assert row.strides[0] == 0
    assert_all_same(everything(row, labels, u), everything(row.copy(), labels, u))
    column = np.broadcast_to(z[:, :1], z.shape)
    assert_all_same(everything(column, labels, u), everything(column.copy(), labels, u))
    one_label = np.broadcast_to(labels[1], labels.shape)
    assert_all_same(everything(z, one_label, u), everything(z, one_label.copy(), u))
    flat = np.broadcast_to(u.dtype.type(1 / classes), (classes,))
    assert_all_same(everything(z, labels, flat), everything(z, labels, flat.copy()))


@pytest.mark.parametrize("dtype, classes", list(itertools.product(FLOATS, (3, 10, 300))))
def test_large_outputs(dtype, classes):
    """They are written by streaming stores, in whole cache lines; the arrays begin `offset` elements after
    the start of one. In Fortran order the next class has another offset in its line.
    """
    rows = 2**25 // (classes * dtype().itemsize) + 5
    z, labels, u = problem(classes, dtype, rows=rows)
    undefined = [11, 3000]
    z[undefined] = np.nan
    options = {"prior": u, **OPTIONS}
    expected = (
        sx.softmax(z),
        sx.log_softmax(z),
        sx.cross_entropy_value_and_grad(z, labels, **options)[1],
    )
    raw = np.zeros(z.size + 256, dtype)
    line = -(raw.ctypes.data // raw.itemsize) % (64 // raw.itemsize)
    for order in "CF":
        turned = np.array(z, order=order)
        p, log_p, grad = (np.ravel(result, order) for result in expected)  # in the order of memory
        for offset in (0, 1, 5):
            start = line + offset
            before, inside, after = np.split(raw, [start, start + z.size])
            out = inside.reshape(z.shape, order=order)

            def in_place(out=out, turned=turned):
                out[...] = turned
                sx.softmax(out, out=out)

            calls = (
                partial(sx.softmax, turned, out=out),
                partial(sx.log_softmax, turned, out=out),
                in_place,
                partial(sx.cross_entropy_value_and_grad, turned, labels, grad_out=out, **options),
            )
            before[:] = after[:] = 7
            # Elements that a call does not write keep their values: another result, or a 7 instead of nan.
            for call, written in zip(calls, (p, log_p, p, grad), strict=True):
                out[undefined] = 7
                call()
                assert_same_bits(inside, written)
                assert (before == 7).all()
                assert (after == 7).all()


@every_float
def test_memory_map(dtype, tmp_path):
    z, labels, u = problem(33, dtype)
    path = tmp_path / "logits"
    z.tofile(path)
    for mode in ("r", "r+", "c"):
        mapped = np.memmap(path, dtype, mode, shape=z.shape)
        got = everything(mapped, labels, u)
        assert all(type(result) is np.ndarray for result in got)
        assert_all_same(got, everything(z, labels, u))
    offset = np.memmap(path, dtype, "r", offset=z.itemsize * 33, shape=(6, 33))
    assert_all_same(everything(offset, labels[1:], u), everything(z[1:], labels[1:], u))


@every_float
@pytest.mark.parametrize("classes", [3, 33, 300])
def test_layout_of_the_targets_and_the_prior(dtype, classes):
    z, labels, u = problem(classes, dtype)
    q = np.random.default_rng(2).dirichlet(np.ones(classes), 7).astype(dtype)
    rows_prior = np.random.default_rng(3).dirichlet(np.ones(classes), 7)
    by_label = sx.cross_entropy_value_and_grad(z, labels, prior=u, **OPTIONS)
    by_q = sx.cross_entropy_value_and_grad(z, q, prior=rows_prior, **OPTIONS)
    for layout in LAYOUTS.values():
        got = sx.cross_entropy_value_and_grad(z, layout(q), prior=layout(rows_prior), **OPTIONS)
        assert_all_same(got, by_q)
        one_column = layout(np.stack([labels, labels], 1))[:, 0]
        one_row = layout(np.stack([u, u]))[1]
        got = sx.cross_entropy_value_and_grad(z, one_column, prior=one_row, **OPTIONS)
        assert_all_same(got, by_label)


def test_prior_broadcasts_over_any_batch_axis():
    z = problem(5, np.float64, rows=24).logits.reshape(4, 6, 5)
    labels = problem(5, rows=24).labels.reshape(4, 6)
    rng = np.random.default_rng(1)
    for shape in ((5,), (1, 5), (6, 5), (1, 1, 5), (4, 1, 5), (1, 6, 5), (4, 6, 5)):
        u = rng.dirichlet(np.ones(5), shape[:-1])
        expected = everything(z, labels, np.broadcast_to(u, z.shape).copy())
        assert_all_same(everything(z, labels, u), expected)
        if u.ndim == 3:  # the axes of the prior move with those of the logits
            moved = np.moveaxis(z, -1, 1)
            got = everything(moved, labels, np.moveaxis(u, -1, 1), axis=1)
            assert_all_same(got, expected)


class TestOut:
    """Results in a given array have the bits of a new one."""

    def calls(self, z, labels):
        """(a call that takes `out`, the shape of `out`) for every function that has it."""
        rows = z.shape[:-1]
        yield lambda out: sx.softmax(z, out=out), z.shape
        yield lambda out: sx.log_softmax(z, out=out), z.shape
        yield lambda out: sx.logsumexp(z, out=out), rows
        yield lambda out: sx.logsumexp(z, keepdims=True, out=out), (*rows, 1)
        yield lambda out: sx.cross_entropy(z, labels, out=out, **OPTIONS), rows
        yield lambda out: sx.cross_entropy_value_and_grad(z, labels, out=out, **OPTIONS)[0], rows
        yield (
            lambda out: sx.cross_entropy_value_and_grad(z, labels, grad_out=out, **OPTIONS)[1],
            z.shape,
        )

    @every_float
    @pytest.mark.parametrize("classes", [1, 3, 16, 33, 300, 1025])
    def test_given_and_strided(self, dtype, classes):
        z, labels, _ = problem(classes, dtype)
        for call, shape in self.calls(z, labels):
            fresh = call(None)
            assert fresh.shape == shape
            plain = np.full(shape, np.nan, dtype)
            assert call(plain) is plain
            assert_same_bits(plain, fresh)
            wide = np.full([3 * n + 2 for n in shape], 7, dtype)
            for step in (1, 3, -2):
                wide[...] = 7
                view = wide[
                    tuple(
                        slice(1, 1 + n * step, step) if step > 0 else slice(n * -step, 0, step)
                        for n in shape
                    )
                ]
                assert view.shape == shape
                assert call(view) is view
                assert_same_bits(view, fresh)
                view[...] = 7
                assert (wide == 7).all()  # nothing beside the view was written
            for order in (np.asfortranarray(plain), misaligned_out(plain)):
                order[...] = 7
                assert call(order) is order
                assert_same_bits(order, fresh)

    @every_float
    @pytest.mark.parametrize("classes", [1, 3, 16, 33, 300, 1025, 16385])
    def test_in_place(self, dtype, classes):
        """out=logits and grad_out=logits"""
        z, labels, u = problem(classes, dtype)
        expected = everything(z, labels, u)
        for operation, result in ((sx.softmax, expected[0]), (sx.log_softmax, expected[1])):
            for layout in ("C", "F"):
                same = z.copy(order=layout)
                assert operation(same, out=same) is same
                assert_same_bits(same, result)
        for layout in ("C", "F"):
            same = z.copy(order=layout)
            loss, grad = sx.cross_entropy_value_and_grad(
                same, labels, prior=u, grad_out=same, **OPTIONS
            )
            assert grad is same
            assert_same_bits(loss, expected[3])
            assert_same_bits(grad, expected[4])
        spaced = spread(z, (2, 3))
        assert sx.softmax(spaced, out=spaced) is spaced
        assert_same_bits(spaced, expected[0])

    @every_float
    @pytest.mark.parametrize("classes", [3, 16, 33, 300, 1025])
    def test_partial_overlap_with_the_logits_is_as_if_there_were_none(self, dtype, classes):
        z, labels, _ = problem(classes, dtype)
        loss, grad = sx.cross_entropy_value_and_grad(z, labels, **OPTIONS)
        n = z.size
        shifts = (1, 2, 15, classes - 1, classes, classes + 1, n - 1)
        for step, shift in itertools.product((1, 2), shifts):
            for first, second in ((0, shift), (shift, 0)):
                for operation in (sx.softmax, sx.log_softmax):
                    logits, out = overlapping(z, first, second, n + shift, step)
                    operation(logits, out=out)
                    assert_same_bits(out, operation(z))
                logits, out = overlapping(z, first, second, n + shift, step)
                got, _ = sx.cross_entropy_value_and_grad(logits, labels, grad_out=out, **OPTIONS)
                assert_same_bits(out, grad)
                assert_same_bits(got, loss)

    @every_float
    def test_reversed_and_transposed_overlap(self, dtype):
        z = problem(100, dtype, rows=150).logits
        for view in (lambda a: a[99::-1], lambda a: a[:100, ::-1], lambda a: a[:100].T):
            for first, second in ((np.s_[:100], view), (view, np.s_[50:])):
                same = z.copy()
                logits, out = (x(same) if callable(x) else same[x] for x in (first, second))
                assert_same_bits(sx.softmax(logits.copy()), sx.softmax(logits, out=out))

    @every_float
    @pytest.mark.parametrize("classes", [7, 50, 150])
    def test_overlap_with_targets_prior_and_one_another(self, dtype, classes):
        """Results written over any of the inputs, as if these were read first: many rows take turns."""
        z, _, _ = problem(classes, dtype, rows=classes)
        q = np.random.default_rng(2).dirichlet(np.ones(classes), classes).astype(dtype)
        u = np.random.default_rng(3).dirichlet(np.ones(classes), classes).astype(dtype)
        loss, grad = sx.cross_entropy_value_and_grad(z, q, prior=u, **OPTIONS)
        for name in ("targets", "prior", "logits"):
            args = {"logits": z.copy(), "targets": q.copy(), "prior": u.copy()}
            for out, grad_out in itertools.product(
                (None, args[name][3], args[name][:, 2]), (None, args[name], args[name][::-1])
            ):
                if out is not None and grad_out is not None:
                    continue  # two results in the same memory have no right answer
                fresh = {"logits": z, "targets": q, "prior": u}
                for key, value in fresh.items():
                    args[key][...] = value
                got = sx.cross_entropy_value_and_grad(
                    args["logits"],
                    args["targets"],
                    prior=args["prior"],
                    out=out,
                    grad_out=grad_out,
                    **OPTIONS,
                )
                assert_same_bits(got[0], loss)
                assert_same_bits(got[1], grad)

    def test_labels_may_be_overwritten_by_the_loss(self):
        z, labels, _ = problem(7, np.float64)
        expected, shared = sx.cross_entropy(z, labels, **OPTIONS), labels.astype(np.int64)
        out = shared.view(np.float64)
        assert_same_bits(sx.cross_entropy(z, shared, out=out, **OPTIONS), expected)

    @every_float
    def test_random_views_of_one_array(self, dtype):
        """Logits and result are random views of the same memory; expected is the result of a copy of the logits."""
        rng = np.random.default_rng(8)
        memory = 3 * rng.standard_normal(MANY).astype(dtype)
        for _ in range(400):
            rows, classes = rng.integers(1, [60, 7])  # up to four tiles, which are written in turns
            z, out = (random_view(rng, rows, classes) for _ in range(2))
            work = memory.copy()
            logits = z(work)
            expected = sx.softmax(logits.copy())
            got = sx.softmax(logits, out=out(work))
            assert_same_bits(got, expected)
            labels = rng.integers(0, classes, rows)
            work = memory.copy()
            expected = sx.cross_entropy_value_and_grad(z(work).copy(), labels, **OPTIONS)
            got = sx.cross_entropy_value_and_grad(z(work), labels, grad_out=out(work), **OPTIONS)
            assert_same_bits(got[0], expected[0])
            assert_same_bits(got[1], expected[1])


def misaligned_out(like):
    view = np.zeros(like.nbytes + 1, np.uint8)[1:].view(like.dtype).reshape(like.shape)
    assert not view.flags.aligned or not view.size
    return view


def overlapping(z, first, second, length, step):
    """The logits and an output of their shape, at two offsets into one array."""
    memory = np.zeros(step * length, z.dtype)[::step]
    logits = memory[first : first + z.size].reshape(z.shape)
    logits[...] = z
    return logits, memory[second : second + z.size].reshape(z.shape)


def random_view(rng, rows, classes):
    """A function that returns a random (rows, classes) view of `MANY` elements, without self-overlap."""
    column_step = int(rng.choice([1, 2, 3]))
    row_step = int(rng.integers((classes - 1) * column_step + 1, (classes - 1) * column_step + 6))
    if rng.random() < 0.3:  # the classes have the larger stride
        row_step = int(rng.choice([1, 2]))
        column_step = int(rng.integers((rows - 1) * row_step + 1, (rows - 1) * row_step + 6))
    span = (rows - 1) * row_step + (classes - 1) * column_step
    start = int(rng.integers(0, MANY - span))
    flips = rng.random(2) < 0.3

    def view(memory):
        strides = (row_step * memory.itemsize, column_step * memory.itemsize)
        array = np.lib.stride_tricks.as_strided(memory[start:], (rows, classes), strides)
        return array[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]

    return view
