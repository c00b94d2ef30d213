"""The number of threads changes only the speed: the same bits, the same errors, from any thread."""

import itertools
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import smoothxent as sx
from digest import arrays, calls, large_problem, option_calls, results
from problems import FLOATS, problem
from test_signals import LABEL, assert_within_promise, many
from ulp import assert_same_bits

every_float = pytest.mark.parametrize("dtype", FLOATS)
COUNTS = (
    1,
    2,
    3,
    8,
)  # serial; both cores of a small machine; a count that divides nothing evenly; more than processors


# A row is shared by one thread for each started MiB: four, since the row is 2 % larger than 3 MiB.
LONG = {np.float32: 800_001, np.float64: 400_001}


def assert_same_with_any_threads(calls):
    """Each call gives the bits that one thread gives."""
    for call in calls:
        with sx.num_threads(1):
            expected = arrays(call)
        for threads in COUNTS[1:]:
            with sx.num_threads(threads):
                for got, right in zip(arrays(call), expected, strict=True):
                    assert_same_bits(got, right)


def all_calls(item):
    return itertools.chain(calls(*item), option_calls(*item))


class TestSameBits:
    @every_float
    def test_many_rows(self, dtype):
        """4.2 or 8.4 MB of logits; 4 MB are enough for eight threads."""
        assert_same_with_any_threads(all_calls(large_problem(dtype, rows=1051)))

    @every_float
    def test_many_rows_written_past_the_caches(self, dtype):
        """To arrays that are in use, since new ones are not written in this way; they are just over 32 MiB."""
        classes = 1000
        z, labels, u = problem(classes, dtype, rows=2**25 // (classes * dtype().itemsize) + 1)
        out = np.zeros_like(z)
        options = {"label_smoothing": 0.1, "prior": u, "grad_out": out}
        assert_same_with_any_threads(
            (
                lambda: sx.softmax(z, out=out).copy(),
                lambda: sx.cross_entropy_value_and_grad(z, labels, **options)[1].copy(),
            )
        )

    @every_float
    def test_few_long_rows(self, dtype):
        """Fewer rows than threads: the threads share each row."""
        assert_same_with_any_threads(all_calls(problem(LONG[dtype], dtype, rows=3)))

    @pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
    def test_many_of_the_largest(self, dtype):
        """More than 2^16 are sorted in parts."""
        z = problem(LONG[np.float64], np.float64, rows=3).logits.astype(dtype)
        where = np.arange(z.shape[1]) % 5 > 0
        assert_same_with_any_threads([lambda: sx.top_k_log_softmax(z, 2**16 + 1, where=where)])

    @every_float
    def test_long_rows_are_shared_out(self, dtype):
        """To more than two threads: a new process starts the others, so many that their total is a power of two."""
        script = f"""
import numpy as np, smoothxent as sx
sx.set_num_threads(8)
sx.softmax(np.zeros((1, {LONG[dtype]}), np.{dtype.__name__}))
print(sx.show_config(mode="dicts")["threads"]["started"])
"""
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
        )
        assert (run.returncode, run.stdout) == (0, "3\n"), run.stderr

    @pytest.mark.parametrize("special", [0.0, -np.inf, np.nan, np.inf, 3e38, -3e38])
    def test_a_long_row_of_any_kind(self, special):
        """A single row is shared by threads; with other rows, one thread computes it."""
        z, labels, u = problem(300_001, rows=1)
        z[0, 200_000:200_100] = special
        mask = np.arange(z.shape[-1]) % 3 > 0
        q = np.roll(u, 5).astype(np.float32)
        options = [{}, {"prior": u}, {"where": mask}, {"temperature": 1.7, "z_loss": 1e-3}]
        calls = [
            lambda z, n: sx.softmax(z),
            lambda z, n: sx.softmax(z, where=mask, temperature=0.5),
            lambda z, n: sx.log_softmax(z),
            lambda z, n: sx.logsumexp(z),
            lambda z, n: sx.cross_entropy_terms(z, labels.repeat(n), prior=u)[1],
        ]
        for option in options:
            for target in (lambda n: labels.repeat(n), lambda n: np.broadcast_to(q, (n, q.size))):

                def loss_and_grad(z, n, target=target, option=option):
                    loss, grad = sx.cross_entropy_value_and_grad(
                        z, target(n), label_smoothing=0.1, reduction="none", **option
                    )
                    return np.concatenate([loss[:, None], grad], axis=1)

                calls.append(loss_and_grad)
        for call in calls:
            with sx.num_threads(2):
                alone = call(z, 1)
            with sx.num_threads(1):
                assert_same_bits(alone[0], call(z.repeat(2, 0), 2)[1])

    @pytest.mark.parametrize("classes, rows", [(10, 105_001), (33, 32_501)])
    def test_many_short_rows(self, classes, rows):
        """1M logits."""
        assert_same_with_any_threads(all_calls(problem(classes, rows=rows)))

    def test_classes_on_the_first_axis(self):
        z, labels, u = large_problem()
        expected = sx.cross_entropy_value_and_grad(
            z, labels, label_smoothing=0.1, prior=u, reduction="none"
        )
        turned = np.ascontiguousarray(z.T)
        for threads in COUNTS:
            with sx.num_threads(threads):
                loss, grad = sx.cross_entropy_value_and_grad(
                    turned, labels, label_smoothing=0.1, prior=u, reduction="none", axis=0
                )
            assert_same_bits(loss, expected[0])
            assert_same_bits(grad.T, expected[1])

    def test_a_row_of_a_large_batch_is_a_row_alone(self):
        """The pool computes the batch, the calling thread alone the row."""
        z, labels, u = large_problem()
        options = {"label_smoothing": 0.1, "prior": u, "reduction": "none"}
        loss, grad = sx.cross_entropy_value_and_grad(z, labels, **options)
        p = sx.softmax(z)
        for row in (0, 1, 1023, 2099, 2100, 4199):
            one = slice(row, row + 1)
            alone = sx.cross_entropy_value_and_grad(z[one], labels[one], **options)
            assert_same_bits(loss[one], alone[0])
            assert_same_bits(grad[one], alone[1])
            assert_same_bits(p[one], sx.softmax(z[one]))

    def test_in_place_and_given_outputs(self):
        z, labels, _ = large_problem()
        expected = sx.cross_entropy_value_and_grad(z, labels, label_smoothing=0.1)
        for threads in COUNTS:
            with sx.num_threads(threads):
                work = z.copy()
                value, grad = sx.cross_entropy_value_and_grad(
                    work, labels, label_smoothing=0.1, grad_out=work
                )
            assert grad is work
            assert value == expected[0]
            assert_same_bits(grad, expected[1])


def test_lowest_bad_row_is_reported_whatever_the_number_of_threads():
    z = np.zeros((420_001, 10), np.float32)
    labels = np.zeros(len(z), np.int64)
    labels[[1234, 1235, 300_000, 420_000]] = [10, -1, 99, 2**40]
    for threads in COUNTS:
        with (
            sx.num_threads(threads),
            pytest.raises(sx.LabelError, match=r"^targets\[1234\] is 10, but there are 10"),
        ):
            sx.cross_entropy(z, labels)


class TestCallers:
    def run(self, functions):
        """Run all at once, each in its own thread; raise the error of one of them."""
        start = threading.Barrier(len(functions))
        failures = []

        def body(function):
            try:
                start.wait(60)
                function()
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=body, args=(f,), daemon=True) for f in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "a call never returned"
        if failures:
            raise failures[0]

    def test_calls_from_several_threads_at_once(self):
        items = [problem(1000, rows=1500, seed=seed) for seed in range(4)]
        expected = [list(results(*item)) for item in items]

        def caller(item, right):
            def call():
                for got, want in zip(results(*item), right):
                    assert_same_bits(got, want)

            return call

        self.run([caller(item, right) for item, right in zip(items, expected)] * 2)

    def test_two_threads_with_the_same_output(self):
        """The numbers are unspecified, as with NumPy; nothing else is written, and later calls are right."""
        one, other = (problem(1000, rows=1500, seed=seed).logits for seed in (1, 2))
        answers = sx.softmax(one), sx.softmax(other)
        inputs = one.copy(), other.copy()
        around = np.full((1502, 1000), 7, np.float32)
        out = around[1:-1]
        for _ in range(3):
            self.run([lambda: sx.softmax(one, out=out), lambda: sx.softmax(other, out=out)])
        assert (around[[0, -1]] == 7).all()
        assert_same_bits(one, inputs[0])
        assert_same_bits(other, inputs[1])
        for logits, answer in zip((one, other), answers):
            assert_same_bits(sx.softmax(logits, out=out), answer)

    def test_logits_changing_during_the_call(self):
        """The numbers are unspecified in the rows that change and right in the others."""
        z, labels, _ = large_problem()
        expected = sx.cross_entropy(z, labels, label_smoothing=0.1, reduction="none")
        work = z.copy()
        done = threading.Event()

        def write():
            rng = np.random.default_rng(1)
            while not done.is_set():
                work[100:200] = rng.choice([np.nan, np.inf, -np.inf, 0, 1e30], (100, 1))

        def read():
            try:
                for _ in range(5):
                    loss, grad = sx.cross_entropy_value_and_grad(
                        work, labels, label_smoothing=0.1, reduction="none"
                    )
                    assert loss.shape == (4200,)
                    assert grad.shape == z.shape
                    for part in (slice(100), slice(200, None)):
                        assert_same_bits(loss[part], expected[part])
            finally:
                done.set()

        self.run([write, read])

    @pytest.mark.skipif(
        not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="the interpreter has no lock"
    )
    def test_the_interpreter_lock_is_released_for_more_than_256_kib(self):
        """By nothing else here: the switch interval is longer than the test."""
        small = np.zeros((64, 1024), np.float32)  # 256 KiB
        large = np.zeros((65, 1024), np.float32)
        begin, ran = threading.Lock(), []
        other = threading.Thread(target=lambda: begin.acquire() and ran.append(True), daemon=True)
        before = sys.getswitchinterval()
        begin.acquire()
        other.start()
        try:
            sys.setswitchinterval(100)
            begin.release()  # from here on it waits for the interpreter lock
            for z, is_released in ((small, False), (large, True)):
                end = time.perf_counter() + (5 if is_released else 0.2)
                while not ran and time.perf_counter() < end:
                    sx.softmax(z)
                assert bool(ran) == is_released
        finally:
            sys.setswitchinterval(before)
        other.join(60)

    @pytest.mark.skipif(
        not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="the interpreter has no lock"
    )
    def test_a_long_call_outside_of_the_main_thread_does_not_wait_for_the_interpreter(self):
        """It has no signals to look for, so it goes on while this thread keeps the interpreter lock."""
        rows = 400_000  # about a second
        numbers = np.sin(np.arange(rows + 2**14, dtype=np.float32))
        z = np.lib.stride_tricks.sliding_window_view(numbers, 2**14)[:rows]
        out = np.full(rows, np.nan, np.float32)
        call = sx.num_threads(1)(sx.logsumexp)
        other = threading.Thread(target=lambda: call(z, out=out), daemon=True)
        before, went_on = sys.getswitchinterval(), False
        other.start()
        try:
            sys.setswitchinterval(100)
            while other.is_alive() and not went_on:
                time.sleep(0.05)  # here it may take the lock
                written = []
                for seconds in (0.1, 0.1):
                    end = time.perf_counter() + seconds
                    while time.perf_counter() < end:
                        pass
                    written.append(sum(loss == loss for loss in out[::1000].tolist()))
                went_on = written[0] < written[1]
        finally:
            sys.setswitchinterval(before)
        assert went_on
        other.join(60)


def longest_wait_of_another_thread(call):
    times, done = [], threading.Event()

    def tick():
        while not done.is_set():
            times.append(time.perf_counter())
            time.sleep(0.001)

    other = threading.Thread(target=tick)
    other.start()
    try:
        call()
    finally:
        done.set()
        other.join()
    return np.diff(times).max()


def test_other_threads_run_while_few_priors_are_read_for_many_rows():
    """A prior is read only once, and without holding the interpreter lock."""
    z, labels = many(0, 8, 64_000, 1000), many(0, 8, 64_000, **LABEL)
    options = {"label_smoothing": 0.1, "prior": np.full((8, 1, 1000), 1e-3)}

    def call():
        sx.cross_entropy(z, labels, **options)

    assert_within_promise(lambda: longest_wait_of_another_thread(call))
