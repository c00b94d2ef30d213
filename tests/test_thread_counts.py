"""The number of threads, as set for the process, for a block, or by the environment."""

import asyncio
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import smoothxent as sx


class TestSetting:
    def test_set_and_get(self):
        for count in (1, 2, 7):
            assert sx.set_num_threads(count) is None
            assert sx.get_num_threads() == count

    def test_numpy_integers(self):
        sx.set_num_threads(np.int64(3))
        assert sx.get_num_threads() == 3

    def test_more_than_an_address_has(self):
        sx.set_num_threads(2**70)
        most = sx.get_num_threads()
        assert most == 2 * sys.maxsize + 1
        with sx.num_threads(2):
            with sx.num_threads(2**70):
                assert sx.get_num_threads() == most
            assert sx.get_num_threads() == 2

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
        """One begins first and ends first: neither sees the setting of the other, and no setting remains."""
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
        """asyncio runs them in turns in one thread; a task has the setting of the place where it was created."""

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
        """It sets the number of the process, which is not undone at the end of the block."""
        sx.set_num_threads(4)
        with sx.num_threads(2):
            sx.set_num_threads(3)
            assert sx.get_num_threads() == 2
            assert sx.show_config(mode="dicts")["threads"]["source"] == "num_threads"
        assert sx.get_num_threads() == 3
        assert sx.show_config(mode="dicts")["threads"]["source"] == "set_num_threads"

    def test_block_of_a_package_that_was_imported_again(self):
        script = """
import sys
import smoothxent as first
with first.num_threads(2):
    pass
for name in [name for name in sys.modules if name.startswith("smoothxent")]:
    del sys.modules[name]
import smoothxent as second
assert second is not first
with second.num_threads(3):
    print(first.get_num_threads(), second.get_num_threads())
"""
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
        )
        assert (run.returncode, run.stdout) == (0, "3 3\n"), run.stderr

    def test_block_decides_what_calls_use(self):
        """More and fewer threads than set for the process, as seen by the threads that a new process starts."""
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
        for call in (sx.set_num_threads, sx.num_threads):
            with pytest.raises(ValueError, match=rf"^n must be at least 1, got {count}$"):
                call(count)
        assert sx.get_num_threads() == before

    @pytest.mark.parametrize("count", ["2", 2.0, None, [2]])
    def test_counts_that_are_no_integers(self, count):
        before = sx.get_num_threads()
        for call in (sx.set_num_threads, sx.num_threads):
            with pytest.raises(
                TypeError, match=f"^n must be an integer, got {type(count).__name__}$"
            ):
                call(count)
        assert sx.get_num_threads() == before


class TestEnvironment:
    """If no number is set: SMOOTHXENT_NUM_THREADS, RAYON_NUM_THREADS, OMP_NUM_THREADS, processors."""

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
