"""The number of threads decides speed alone: the same bits, the same errors, from any thread."""

import asyncio
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import smoothxent as sx
from digest import digest, large_problem, results
from problems import FLOATS, problem
from ulp import assert_same_bits

every_float = pytest.mark.parametrize("dtype", FLOATS)
COUNTS = (
    1,
    2,
    3,
    8,
)  # serial; both cores of a small machine; a count that divides nothing evenly; more than there are


def digest_with(threads, item):
    with sx.num_threads(threads):
        return digest([item])


class TestSameBits:
    @pytest.mark.parametrize("dtype, rows", [(np.float32, 1051), (np.float64, 4200)])
    def test_many_rows(self, dtype, rows):
        """1M logits, so that every thread gets a share; and so many that they come from memory."""
        item = large_problem(dtype, rows)
        digests = {digest_with(threads, item) for threads in COUNTS}
        assert len(digests) == 1

    @every_float
    def test_few_long_rows(self, dtype):
        """Rows of 1.5M classes, fewer than threads: a row itself is shared out."""
        item = problem(1_500_001, dtype, rows=3)
        digests = {digest_with(threads, item) for threads in COUNTS}
        assert len(digests) == 1

    @pytest.mark.parametrize("special", [0.0, -np.inf, np.nan, np.inf, 3e38, -3e38])
    def test_a_long_row_of_any_kind(self, special):
        """One row is shared out; among others, one thread does all of it."""
        z, labels, u = problem(600_001, rows=1)
        z[0, 400_000:400_100] = special
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
        item = problem(classes, rows=rows)
        digests = {digest_with(threads, item) for threads in COUNTS}
        assert len(digests) == 1

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
        """The pool works on the batch, the calling thread alone on the row."""
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


class TestSetting:
    def test_set_and_get(self):
        for count in (1, 2, 7):
            assert sx.set_num_threads(count) is None
            assert sx.get_num_threads() == count

    def test_numpy_integers(self):
        sx.set_num_threads(np.int64(3))
        assert sx.get_num_threads() == 3

    def test_context_manager_restores(self):
        sx.set_num_threads(2)
        with sx.num_threads(5):
            assert sx.get_num_threads() == 5
            with sx.num_threads(1):
                assert sx.get_num_threads() == 1
            assert sx.get_num_threads() == 5
        assert sx.get_num_threads() == 2

    def test_context_manager_restores_after_an_exception(self):
        sx.set_num_threads(2)
        with pytest.raises(KeyError), sx.num_threads(5):  # noqa: PT012
            assert sx.get_num_threads() == 5
            raise KeyError
        assert sx.get_num_threads() == 2

    def test_blocks_in_two_threads_at_once(self):
        """One begins first and ends first: neither sees the other's, and nothing stays behind."""
        sx.set_num_threads(4)
        seen = {}
        first_begun, second_begun, first_ended = (threading.Event() for _ in range(3))

        def first():
            with sx.num_threads(1):
                first_begun.set()
                assert second_begun.wait(60)
                seen["first"] = sx.get_num_threads()
            first_ended.set()

        def second():
            assert first_begun.wait(60)
            with sx.num_threads(2):
                second_begun.set()
                assert first_ended.wait(60)
                seen["second"] = sx.get_num_threads()
            seen["second, after"] = sx.get_num_threads()

        threads = [threading.Thread(target=body) for body in (first, second)]
        for thread in threads:
            thread.start()
        assert first_begun.wait(60)
        seen["elsewhere"] = sx.get_num_threads()
        for thread in threads:
            thread.join()
        expected = {"first": 1, "second": 2, "second, after": 4, "elsewhere": 4}
        assert seen == expected
        assert sx.get_num_threads() == 4

    def test_blocks_in_two_tasks_at_once(self):
        """asyncio runs them in turns in one thread; a task has the setting of where it was made."""

        async def task(count, result):
            with sx.num_threads(count):
                await asyncio.sleep(0)
                result.append(sx.get_num_threads())
                await asyncio.sleep(0)
            result.append(sx.get_num_threads())

        async def tasks():
            results = [], []
            with sx.num_threads(5):
                inside = [task(count, result) for count, result in zip((1, 2), results)]
                await asyncio.gather(*inside)
            return results

        sx.set_num_threads(4)
        assert asyncio.run(tasks()) == ([1, 5], [2, 5])
        assert sx.get_num_threads() == 4

    def test_setting_inside_a_block(self):
        """It is the process's, and is not undone at the end of the block."""
        sx.set_num_threads(4)
        with sx.num_threads(2):
            sx.set_num_threads(3)
            assert sx.get_num_threads() == 2
            assert sx.show_config(mode="dicts")["threads"]["source"] == "num_threads"
        assert sx.get_num_threads() == 3
        assert sx.show_config(mode="dicts")["threads"]["source"] == "set_num_threads"

    def test_block_decides_what_calls_use(self):
        """More than the process is set to, and fewer: as the threads that a new process starts."""
        script = """
import numpy as np, smoothxent as sx
z = np.zeros((3000, 1000), np.float32)
started = lambda: sx.show_config(mode="dicts")["threads"]["started"]
sx.set_num_threads(4)
with sx.num_threads(1):
    sx.softmax(z)
counts = [started()]
sx.set_num_threads(1)
with sx.num_threads(3):
    sx.softmax(z)
print(counts + [started()])
"""
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
        )
        assert (run.returncode, run.stdout) == (0, "[0, 2]\n"), run.stderr

    @pytest.mark.parametrize("count", [0, -1, -(2**70)])
    def test_counts_below_one(self, count):
        before = sx.get_num_threads()
        for call in (sx.set_num_threads, lambda n: sx.num_threads(n).__enter__()):
            with pytest.raises(ValueError, match=rf"^n must be at least 1, got {count}$"):
                call(count)
        assert sx.get_num_threads() == before

    @pytest.mark.parametrize("count", ["2", 2.0, None, [2]])
    def test_counts_that_are_no_integers(self, count):
        before = sx.get_num_threads()
        for call in (sx.set_num_threads, lambda n: sx.num_threads(n).__enter__()):
            with pytest.raises(
                TypeError, match=f"^n must be an integer, got {type(count).__name__}$"
            ):
                call(count)
        assert sx.get_num_threads() == before


class TestEnvironment:
    """Until it is set: SMOOTHXENT_NUM_THREADS, RAYON_NUM_THREADS, OMP_NUM_THREADS, processors."""

    def run(self, variables):
        """The number of threads and the messages of a process with these variables."""
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        script = "import smoothxent as sx; print(sx.get_num_threads())"
        run = subprocess.run(
            [sys.executable, "-c", script],
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 0, run.stderr
        return int(run.stdout), run.stderr

    def test_order(self):
        ours, rayon, openmp = (
            {"SMOOTHXENT_NUM_THREADS": "5"},
            {"RAYON_NUM_THREADS": "6"},
            {"OMP_NUM_THREADS": "7"},
        )
        assert self.run(ours | rayon | openmp) == (5, "")
        assert self.run(rayon | openmp) == (6, "")
        assert self.run(openmp) == (7, "")

    def test_processors(self):
        count, _ = self.run({})
        assert 1 <= count <= os.cpu_count()

    def test_value_that_is_no_count_is_ignored_with_a_warning(self):
        count, messages = self.run({"SMOOTHXENT_NUM_THREADS": "two", "OMP_NUM_THREADS": "7"})
        assert count == 7
        assert (
            'RuntimeWarning: SMOOTHXENT_NUM_THREADS is "two", expected a whole number of at least 1; '
            "it is ignored" in messages
        )


class TestCallers:
    def run(self, functions):
        """Run all at once, each in its thread; raise what one of them raised."""
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
        """The numbers are unspecified, as of NumPy; nothing else is written, and later calls are exact."""
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
        """The numbers are unspecified in the rows that change and exact in the others."""
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
