"""The caller's floating-point environment: results do not depend on it, and calls restore it.

Covers the rounding mode, flush-to-zero and denormals-are-zero of a caller, and the exception flags
that NumPy reads.
"""

import ctypes
import ctypes.util
import platform
import signal
import sys
import time

import numpy as np
import pytest

import smoothxent as sx
from digest import large_problem, results, special_rows
from problems import FLOATS, problem
from smoothxent.objectives import lightgbm_objective, xgboost_objective
from ulp import assert_same_bits

GLIBC_X86 = sys.platform == "linux" and platform.machine() == "x86_64"
libm = ctypes.CDLL(ctypes.util.find_library("m") or None) if GLIBC_X86 else None

MXCSR_DEFAULT = 0x1F80
MODES = {  # control bits of MXCSR
    "upward": 0x1F80 | 2 << 13,
    "downward": 0x1F80 | 1 << 13,
    "toward zero": 0x1F80 | 3 << 13,
    "flush to zero": 0x1F80 | 1 << 15,
    "denormals are zero": 0x1F80 | 1 << 6,
    "all of it": 0x1F80 | 3 << 13 | 1 << 15 | 1 << 6,
}


class Environment(ctypes.Structure):
    """fenv_t of glibc on x86-64: the x87 environment, then MXCSR."""

    _fields_ = [("x87", ctypes.c_uint8 * 28), ("mxcsr", ctypes.c_uint32)]


def get_mxcsr():
    environment = Environment()
    assert libm.fegetenv(ctypes.byref(environment)) == 0
    return environment.mxcsr


def set_mxcsr(value):
    environment = Environment()
    assert libm.fegetenv(ctypes.byref(environment)) == 0
    environment.mxcsr = value
    assert libm.fesetenv(ctypes.byref(environment)) == 0


def problems():
    for dtype in FLOATS:
        for classes in (3, 33, 1000):
            item = problem(classes, dtype, scale=30)
            yield item
            tiny = np.finfo(dtype).smallest_normal
            yield item._replace(logits=(item.logits * tiny / 100).astype(dtype))  # denormals
    yield large_problem(rows=1500)


@pytest.mark.skipif(
    not GLIBC_X86, reason="the layout of the environment is known for glibc on x86-64 alone"
)
@pytest.mark.parametrize("mode", MODES)
def test_results_do_not_depend_on_the_mode_and_it_comes_back(mode):
    items = list(problems())
    expected = [list(results(*item)) for item in items]
    got = []
    for item in items:
        set_mxcsr(MODES[mode])
        try:
            got.append(list(results(*item)))
            left = get_mxcsr()
        finally:
            set_mxcsr(MXCSR_DEFAULT)
        assert left & ~0x3F == MODES[mode], "the control bits have changed"
    for one, other in zip(got, expected):
        for result, right in zip(one, other):
            assert_same_bits(result, right)


@pytest.mark.skipif(
    not GLIBC_X86, reason="the layout of the environment is known for glibc on x86-64 alone"
)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("classes", [10, 1000, 10**6])
def test_what_python_code_sets_within_a_call(classes, mode):
    """A method of an argument may leave another mode: long rows are finished by the thread of the call."""
    u = np.full(classes, 1 / classes)

    class Prior:
        def __array__(self, *_, **__):
            set_mxcsr(MODES[mode])
            return u

    z = np.full((1, classes), 0.3, np.float32)
    expected = sx.cross_entropy_value_and_grad(z, [0], label_smoothing=0.1, prior=u)
    try:
        got = sx.cross_entropy_value_and_grad(z, [0], label_smoothing=0.1, prior=Prior())
        left = get_mxcsr()
    finally:
        set_mxcsr(MXCSR_DEFAULT)
    assert left & ~0x3F == MXCSR_DEFAULT
    assert_same_bits(got[1], expected[1])
    assert got[0] == expected[0]


@pytest.mark.skipif(
    not GLIBC_X86, reason="the layout of the environment is known for glibc on x86-64 alone"
)
@pytest.mark.parametrize("mode", ["upward", "all of it"])
def test_what_a_signal_handler_sets_within_a_call(mode):
    """The same row again and again, by the thread of the call, for so long that the handler runs."""
    row = np.linspace(-1, 1, 10**6, dtype=np.float32)
    expected, calls = sx.logsumexp(row), []
    start = time.perf_counter()
    sx.logsumexp(np.broadcast_to(row, (20, len(row))))
    rows = 20 * (1 + int(0.3 / (time.perf_counter() - start)))  # 0.3 seconds

    def handler(*_):
        calls.append(set_mxcsr(MODES[mode]))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with sx.num_threads(1):
            while not calls:
                signal.setitimer(signal.ITIMER_REAL, 0.03, 0.03)
                got = sx.logsumexp(np.broadcast_to(row, (rows, len(row))))
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        set_mxcsr(MXCSR_DEFAULT)
        signal.signal(signal.SIGALRM, before)
    assert_same_bits(got, np.full(rows, expected))


@pytest.mark.skipif(
    not GLIBC_X86, reason="the layout of the environment is known for glibc on x86-64 alone"
)
@pytest.mark.parametrize("sticky", [0, 0x3F])
def test_exception_flags_come_back(sticky):
    """They are neither raised by overflow, underflow or nan in a call, nor cleared."""
    z = special_rows(problem(33).logits)
    labels, out, grad = problem(33).labels, np.empty(7, np.float32), np.empty_like(z)
    calls = (
        lambda: sx.softmax(z, out=grad),
        lambda: sx.log_softmax(z, out=grad),
        lambda: sx.logsumexp(z, out=out),
        lambda: sx.cross_entropy_value_and_grad(
            z, labels, reduction="none", out=out, grad_out=grad
        ),
    )
    for call in calls:
        set_mxcsr(MXCSR_DEFAULT | sticky)
        try:
            call()
            left = get_mxcsr()
        finally:
            set_mxcsr(MXCSR_DEFAULT)
        assert left & 0x3F == sticky


def test_no_floating_point_warning():
    """Special values, overflow and underflow raise nothing, even if NumPy is set to raise."""
    for dtype in FLOATS:
        for classes in (3, 33, 1000):
            z, labels, u = problem(classes, dtype, scale=50)
            with np.errstate(all="raise"):
                list(results(special_rows(z), labels, u))
                list(results(np.full_like(z, -np.inf), labels, u))
                sx.smooth_labels(labels, classes, label_smoothing=1e-300, prior=u)


def test_no_floating_point_warning_where_sums_overflow():
    with np.errstate(all="raise"):
        shares = sx.class_prior([0, 1], 2, sample_weight=[1e-300, 1e300])
        assert (shares == [0.0, 1.0]).all()
        with pytest.raises(ValueError, match="^sample_weight and pseudocount sum to more"):
            sx.class_prior([0, 0], 2, sample_weight=[1e308, 1e308])
        for call in (
            lambda: sx.smooth_labels([0], 3, label_smoothing=0.1, prior=[1e308] * 3),
            lambda: sx.label_dropout([0], 3, rate=0.1, prior=[1e308] * 3),
            lambda: sx.cross_entropy([[0.0] * 3], [0], label_smoothing=0.1, prior=[1e308] * 3),
            lambda: xgboost_objective(label_smoothing=0.1, prior=[1e308] * 3),
        ):
            with pytest.raises(ValueError, match="^prior sums to inf, expected 1 within "):
                call()


@pytest.mark.parametrize("objective", [lightgbm_objective, xgboost_objective])
def test_no_floating_point_warning_of_objectives(objective):
    """The lower bound of XGBoost's Hessian, 1e-16, underflows in float16; and a NaN may be a signalling one."""
    with np.errstate(all="raise"):
        for dtype in (np.float16, *FLOATS):
            _, hessian = objective()([0, 1], np.array([[900, 0], [900, 0]], dtype))
            assert (hessian <= np.float32(1e-16)).all()
        with pytest.raises(sx.LabelError, match=r"^labels\[0\] is nan, expected"):
            objective()(np.array([0x7F800001], np.uint32).view(np.float32), np.zeros((1, 2)))


@pytest.mark.parametrize("size", [5e-324, 1e-320, 1e-40, 1e40, 1e300])
def test_no_floating_point_warning_of_weights_of_any_size(size):
    weights, one = np.array([size, 1.0, 0.0, size]), np.eye(4)
    confident = 800.0 * one
    for targets in ([0, 1, 2, 3], 0.5 * one + 0.125):
        for options in ({"sample_weight": weights}, {"class_weight": weights}):
            for dtype in FLOATS:
                z = confident.astype(dtype)
                with np.errstate(all="raise"):
                    sx.score(z, targets, grad_out=z.copy(), **options).as_dict()
                    for reduction in ("mean", "sum", "none"):
                        sx.linear_cross_entropy_value_and_grad(
                            z, z, targets, bias=z[0], reduction=reduction, **options
                        )
