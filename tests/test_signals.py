"""Signals are answered within 100 ms, wherever a call is: in its kernel, in a conversion, in a copy.

Broadcast arguments take no memory, and new memory costs nothing until it is written. So calls can
be made that would take seconds or minutes, but are stopped before.
"""

import faulthandler
import inspect
import os
import signal
import time

import numpy as np
import pytest
from ml_dtypes import bfloat16

import smoothxent as sx
from smoothxent import tf_losses

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the system has no timer signals")

PROMISED = 0.1  # seconds
SLACK = 0.1  # for a busy machine, and for the release of a gigabyte of pages
ATTEMPTS = 5  # a busy machine is late sometimes, a call that ignores signals each time
WATCHDOG = 100  # seconds, after which the whole run is aborted
CLOCKS = time.perf_counter, time.process_time  # the second stops while other processes run


class Stopped(Exception):
    pass


def many(value, *shape, dtype=np.float32):
    """An array of one number, which is repeated by strides of 0."""
    return np.broadcast_to(np.array(value, dtype), shape)


def rising(rows, classes):
    """Rows in which every class has a larger logit than those before it."""
    return np.broadcast_to(np.linspace(-1, 1, classes, dtype=np.float32), (rows, classes))


def late(call, after):
    """The seconds from a signal, sent `after` seconds into the call, to its end; without other processes."""

    def stop(signum, frame):
        raise Stopped

    before = signal.signal(signal.SIGALRM, stop)
    faulthandler.dump_traceback_later(WATCHDOG, exit=True)
    starts = [clock() for clock in CLOCKS]
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        with pytest.raises(Stopped):
            call()
        return min(clock() - start for clock, start in zip(CLOCKS, starts, strict=True)) - after
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def longest_silence(call):
    """The longest time for which a whole call answers no signal, by both clocks."""
    times = [[clock() for clock in CLOCKS]]
    before = signal.signal(signal.SIGALRM, lambda *_: times.append([clock() for clock in CLOCKS]))
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    times.append([clock() for clock in CLOCKS])
    return np.diff(times, axis=0).min(axis=1).max()


def assert_within_promise(measure):
    seconds = []
    while len(seconds) < ATTEMPTS and min(seconds, default=np.inf) >= PROMISED + SLACK:
        seconds.append(measure())
    assert min(seconds) < PROMISED + SLACK


F16, F64, LABEL = ({"dtype": dtype} for dtype in (np.float16, np.float64, np.int8))
LAYER = many(0, 2**16, 64), many(0, 2**16, 64), many(0, 2**16, **LABEL)

# Calls that take longer than the signal to arrive, on any machine: (function, arguments, options).
LONG = {
    # the kernels, and the work before and after them
    "rows": ("softmax", lambda: (many(0, 2**15, 2**13),), {}),
    "float64": ("log_softmax", lambda: (many(0, 2**14, 2**13, **F64),), {}),
    "few classes": ("softmax", lambda: (many(0, 2**26, 4),), {}),
    "first axis": ("softmax", lambda: (many(0, 1000, 2**18),), {"axis": 0}),
    "middle axis": ("log_softmax", lambda: (many(0, 2, 1000, 2**18),), {"axis": 1}),
    "long rows": ("logsumexp", lambda: (many(0, 2**17, 2**20),), {}),
    "many long rows": ("logsumexp", lambda: (many(0, 2**20, 2**20),), {}),
    "one row, many times": (
        "logsumexp",
        lambda: (np.broadcast_to(np.zeros(2**20), (2**22, 2**20)),),
        {},
    ),
    "rows in lanes": ("logsumexp", lambda: (many(0, 2**10, 2**24),), {"axis": 0}),
    "where": (
        "logsumexp",
        lambda: (many(0, 2**22, 2**13),),
        {"where": many(True, 2**13, dtype=bool)},
    ),
    "top k": ("top_k_log_softmax", lambda: (many(0, 2**15, 2**13), 5), {}),
    "top k of few classes": ("top_k_log_softmax", lambda: (many(0, 2**24, 4), 2), {}),
    "top k of long rows": ("top_k_log_softmax", lambda: (rising(2**10, 2**19), 2**16), {}),
    "a row that is sorted": ("top_k_log_softmax", lambda: (rising(1, 2**24), 2**24), {}),
    "chosen classes": (
        "log_softmax_at",
        lambda: (many(0, 2**15, 2**13), np.zeros((2**15, 1), int)),
        {},
    ),
    "more indices than classes": (
        "log_softmax_at",
        lambda: (many(0, 1, 2), many(1, 1, 2**27, **LABEL)),
        {},
    ),
    "labels": ("cross_entropy", lambda: (many(0, 2**26, 3), many(1, 2**26, **LABEL)), {}),
    "chunks": ("score", lambda: (many(0, 2**24, 2**7), many(1, 2**24, **LABEL)), {}),
    "chunks of one long row": ("score", lambda: (many(0, 2**10, 2**26), np.zeros(2**10, int)), {}),
    "no row counts": (
        "cross_entropy",
        lambda: (many(0, 2**23, 2**20), many(-100, 2**23, **LABEL)),
        {},
    ),
    "a mask of a row": (
        "cross_entropy",
        lambda: (many(0, 1, 2**52, **F16), np.zeros(1, int)),
        {"where": many(True, 2**52, dtype=bool)},
    ),
    "probabilities": (
        "cross_entropy",
        lambda: (many(0, 2**20, 2**15), many(2**-15, 2**20, 2**15)),
        {},
    ),
    "a prior for each row": (
        "cross_entropy",
        lambda: (many(0, 2**20, 2**13), many(0, 2**20, **LABEL)),
        {"label_smoothing": 0.1, "prior": many(2**-13, 2**20, 2**13)},
    ),
    "few priors": (
        "cross_entropy",
        lambda: (many(0, 8, 2**16, 1024), many(0, 8, 2**16, **LABEL)),
        {"label_smoothing": 0.1, "prior": np.full((8, 1, 1024), 2**-10)},
    ),
    "a long prior": (
        "cross_entropy",
        lambda: (many(0, 1, 2**27), np.zeros(1, int)),
        {"label_smoothing": 0.1, "prior": many(2**-27, 2**27)},
    ),
    "class_weight": (
        "cross_entropy",
        lambda: (many(0, 1, 2**27), np.zeros(1, int)),
        {"class_weight": many(1, 2**27)},
    ),
    "sample_weight": (
        "cross_entropy",
        lambda: (many(0, 2**26, 1), many(0, 2**26, **LABEL)),
        {"sample_weight": many(1, 2**26)},
    ),
    "gradient": (
        "cross_entropy_value_and_grad",
        lambda: (many(0, 2**14, 2**14), many(0, 2**14, **LABEL)),
        {},
    ),
    "gradient, first axis": (
        "cross_entropy_value_and_grad",
        lambda: (many(0, 1000, 2**18), many(0, 2**18, **LABEL)),
        {"axis": 0},
    ),
    "terms": (
        "cross_entropy_terms",
        lambda: (many(0, 8, 2**16, 1024), many(0, 8, 2**16, **LABEL)),
        {"prior": np.full((8, 1, 1024), 2**-10)},
    ),
    "a linear layer": ("linear_cross_entropy", lambda: LAYER, {}),
    "gradients of a layer": ("linear_cross_entropy_value_and_grad", lambda: LAYER, {}),
    # conversions
    "bool": ("logsumexp", lambda: (many(0, 2**28, dtype=bool),), {}),
    "int8": ("logsumexp", lambda: (many(0, 2**28, dtype=np.int8),), {}),
    "uint64": ("logsumexp", lambda: (many(0, 2**28, dtype=np.uint64),), {}),
    "byte-swapped": ("logsumexp", lambda: (many(0, 2**29, dtype=">f4"),), {}),
    "Fortran order": ("logsumexp", lambda: (many(0, 2**14, 2**14, dtype=bool).T,), {}),
    "axes apart": ("logsumexp", lambda: (many(0, 2**13, 2, 2**14),), {"axis": (0, 2)}),
    "a list": ("logsumexp", lambda: ([0.5] * 2**24,), {}),
    "a list of rows": ("logsumexp", lambda: ([[0.5] * 2**10] * 2**15,), {}),
    "a list of long rows": ("logsumexp", lambda: ([[0.5] * 2**20] * 2**5,), {}),
    "a list of arrays": ("logsumexp", lambda: ([many(0, 2**24)] * 16,), {}),
    "a range": ("logsumexp", lambda: (range(2**26),), {}),
    "byte-swapped labels": (
        "cross_entropy",
        lambda: (many(0, 2**27, 2), many(0, 2**27, dtype=">i8")),
        {},
    ),
    "byte-swapped probabilities": (
        "cross_entropy",
        lambda: (many(0, 2**13, 2**14), many(2**-14, 2**13, 2**14, dtype=">f8")),
        {},
    ),
    "a prior of ints": (
        "cross_entropy",
        lambda: (many(0, 2**13, 2**14), many(0, 2**13, **LABEL)),
        {"label_smoothing": 0.1, "prior": many(0, 2**13, 2**14, **LABEL)},
    ),
    "weights of ints": (
        "cross_entropy",
        lambda: (many(0, 2**27, 2), many(0, 2**27, **LABEL)),
        {"sample_weight": many(0, 2**27, **LABEL)},
    ),
    # the functions in plain NumPy
    "smoothed": ("smooth_labels", lambda: (many(0, 2**25, **LABEL), 8), {"label_smoothing": 0.1}),
    "smoothed bfloat16": (
        "smooth_labels",
        lambda: (many(0, 2**25, **LABEL), 8),
        {"label_smoothing": 0.1, "dtype": bfloat16},
    ),
    "smoothed probabilities": (
        "smooth_labels",
        lambda: (many(0.25, 2**26, 4),),
        {"label_smoothing": 0.1, "where": many(True, 2**26, 1, dtype=bool)},
    ),
    "smoothed, one label": ("smooth_labels", lambda: (0, 2**28), {"label_smoothing": 0.1}),
    "dropped": ("label_dropout", lambda: (many(0, 2**28, **LABEL), 8), {"rate": 0.1}),
    "counted": ("class_prior", lambda: (many(0, 2**28, **LABEL), 8), {}),
    "counted, many classes": ("class_prior", lambda: ([0], 2**27), {"pseudocount": 1.0}),
    # tf_losses
    "one-hot ints": (
        "tf_losses.softmax_cross_entropy",
        lambda: (many(1, 2**21, 2**7, dtype=int), many(0, 2**21, 2**7)),
        {},
    ),
    "sparse": (
        "tf_losses.sparse_softmax_cross_entropy",
        lambda: (many(0, 2**26, 1, **LABEL), many(0, 2**26, 2), many(1, 2**26, 1)),
        {},
    ),
}
LONG_AFTER = {"no row counts": 0.1}  # if the long work does not come first


def function(name):
    module, _, own = name.rpartition(".")
    return getattr(tf_losses if module else sx, own)


@pytest.mark.parametrize("case", LONG)
def test_a_long_call_is_stopped(case):
    name, arguments, options = LONG[case]
    given = arguments()
    call, after = lambda: function(name)(*given, **options), LONG_AFTER.get(case, 0.03)
    assert_within_promise(lambda: late(call, after))


def test_every_function_is_in_the_table():
    short = {"set_num_threads", "get_num_threads", "num_threads", "show_config"}
    functions = {name for name in sx.__all__ if inspect.isroutine(getattr(sx, name))} - short
    functions |= {f"tf_losses.{name}" for name in tf_losses.__all__}
    assert {name for name, _, _ in LONG.values()} == functions


def overlapping():
    z = np.zeros((2**13, 2**13), np.float32)
    return lambda: sx.softmax(z, out=z.T)


def to_axes_apart():
    z, out = many(0, 2**12, 2, 2**14), np.zeros((2**12, 2, 2**14), np.float32)
    return lambda: sx.softmax(z, axis=(0, 2), out=out)


def first_axis():
    z = many(0, 1000, 2**16)
    return lambda: sx.softmax(z, axis=0)


def smoothed():
    labels = np.zeros(3 * 2**22, np.int8)
    return lambda: sx.smooth_labels(labels, 8, label_smoothing=0.1, dtype=np.float16)


def smoothed_under_a_mask():
    labels, prior = np.zeros((2, 2**21), np.int8), np.full((8, 1), 0.125)
    kept = many(True, 2, 8, 2**21, dtype=bool)
    return lambda: sx.smooth_labels(labels, 8, label_smoothing=0.1, prior=prior, where=kept, axis=1)


def smoothed_in_place():
    q = np.full((2**22 + 1, 16), 0.125, np.float16)
    return lambda: sx.smooth_labels(q[:-1], label_smoothing=0.1, out=q[1:])


def dropped():
    labels, prior = np.zeros(3 * 2**22, np.int64), np.full(8, 0.125)
    return lambda: sx.label_dropout(labels, 8, rate=0.5, prior=prior, rng=0)


def dropped_to_many():
    prior = np.full(2**26, 2.0**-26)
    return lambda: sx.label_dropout([0], 2**26, rate=0.5, prior=prior, rng=0)


def dropped_to_any():
    labels, prior = np.zeros(2**18, np.int64), np.full(2**24, 2.0**-24)
    return lambda: sx.label_dropout(labels, 2**24, rate=1.0, prior=prior, rng=0)


def counted_anywhere():
    labels = np.random.default_rng(0).integers(2**26, size=2**21)
    return lambda: sx.class_prior(labels, 2**26)


def smoothed_anywhere():
    labels, prior = np.arange(2**19) % 64, many(2**-6, 2**19, 64, dtype=float).copy()
    kept = many(True, 2**19, 64, dtype=bool).copy()
    return lambda: sx.smooth_labels(labels, 64, label_smoothing=0.1, prior=prior, where=kept)


def counted():
    labels, weights = np.zeros(2**26, np.int8), many(1, 2**26)
    return lambda: sx.class_prior(labels, 8, sample_weight=weights)


def weighted_mean():
    z, labels = many(0, 2**23, 2), many(0, 2**23, **LABEL)
    weights = np.ones((2**23, 1), ">f2")
    return lambda: tf_losses.sparse_softmax_cross_entropy(labels, z, weights, "weighted_mean")


def floats_of_several_types():
    numbers = [0.5] * 2**23 + [np.float32(1)]
    return lambda: sx.logsumexp(numbers)


def no_numbers():
    objects = [0.5] * 2**23 + [None]

    def call():
        with pytest.raises(TypeError, match="logits has dtype object"):
            sx.logsumexp(objects)

    return call


def terms_under_a_mask():
    z, kept = (np.broadcast_to(scalar, (1, 2**25)) for scalar in (np.float32(0), np.True_))
    prior = np.broadcast_to(np.float32(2**-25), z.shape)
    return lambda: sx.cross_entropy_terms(z, np.zeros(1, int), prior=prior, where=kept)


WHOLE = [
    floats_of_several_types,
    no_numbers,
    overlapping,
    to_axes_apart,
    first_axis,
    smoothed,
    smoothed_under_a_mask,
    smoothed_in_place,
    dropped,
    dropped_to_many,
    dropped_to_any,
    counted_anywhere,
    smoothed_anywhere,
    counted,
    weighted_mean,
    terms_under_a_mask,
]


@pytest.mark.parametrize("prepare", WHOLE)
def test_no_part_of_a_call_is_deaf(prepare):
    """Calls of several parts, run to the end."""
    assert_within_promise(lambda: longest_silence(prepare()))
