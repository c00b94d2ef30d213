"""A test that changes the number of threads must not decide it for the tests after it."""

import pytest

import smoothxent as sx


@pytest.fixture(autouse=True)
def same_number_of_threads():
    before = sx.get_num_threads()
    yield
    sx.set_num_threads(before)
