"""Each test restores the number of threads, so that later tests are not affected.

Property tests draw the same examples every time and store none: a failure here is a failure everywhere,
and no files are left in the tree.
"""

import signal
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

import smoothxent as sx

collect_ignore = ["frameworks"]  # `make test-frameworks`: they are gigabytes

settings.register_profile(
    "smoothxent",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # no test asserts a time
)
settings.load_profile("smoothxent")


# If one of these tests started last, it would run alone for many seconds.
LONGEST = (
    "test_exit.py",
    "test_fork.py",
    "test_levels.py",
    "test_out_of_memory.py",
    "test_threads.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_configure(config):
    """Even without a database, Hypothesis caches what it reads in the sources, in .hypothesis.

    A shell has its background jobs ignore Ctrl-C, and so would the children that tests interrupt.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cache = tempfile.TemporaryDirectory()
    config.add_cleanup(cache.cleanup)
    set_hypothesis_home_dir(cache.name)


@pytest.fixture(autouse=True)
def same_number_of_threads():
    before = sx.get_num_threads()
    yield
    sx.set_num_threads(before)
