"""threadpoolctl limits and lists smoothxent, in any order of imports."""

import json
import subprocess
import sys

import pytest
import threadpoolctl

import smoothxent as sx
import smoothxent.threadpoolctl

OURS = """
import json, threadpoolctl
print(json.dumps([each["num_threads"] for each in threadpoolctl.threadpool_info()
                  if each["user_api"] == "smoothxent"]))
"""


def run(code):
    output = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(output)


def ours():
    (info,) = (each for each in threadpoolctl.threadpool_info() if each["user_api"] == "smoothxent")
    return info


@pytest.fixture
def three():
    sx.set_num_threads(3)


@pytest.mark.parametrize(
    "imports",
    [
        "import threadpoolctl, smoothxent",
        "import smoothxent, threadpoolctl, smoothxent.threadpoolctl",
        "import smoothxent.threadpoolctl",
        "import threadpoolctl; threadpoolctl.threadpool_info(); import smoothxent",
    ],
)
def test_is_listed_once(imports):
    assert run(f"{imports}\nsmoothxent.set_num_threads(3){OURS}") == [3]


def test_is_not_listed_if_threadpoolctl_comes_later_and_nobody_asked():
    assert run(f"import smoothxent{OURS}") == []


def test_without_threadpoolctl():
    """Or with an old one without `register`: smoothxent can be imported, and the module says what it needs."""
    code = """
import json, sys, types
sys.modules["threadpoolctl"] = MODULE
import smoothxent
try:
    import smoothxent.threadpoolctl
except ImportError as error:
    print(json.dumps(str(error)))
"""
    expected = "smoothxent.threadpoolctl needs threadpoolctl 3.2 or later: pip install 'threadpoolctl>=3.2'"
    assert run(code.replace("MODULE", "None")) == expected
    assert run(code.replace("MODULE", 'types.ModuleType("threadpoolctl")')) == expected


@pytest.mark.usefixtures("three")
class TestLimits:
    def test_info(self):
        info = ours()
        assert info["num_threads"] == 3
        assert info["version"] == sx.__version__
        assert info["filepath"] == sx._smoothxent.__file__

    def test_block(self):
        with threadpoolctl.threadpool_limits(1):
            assert sx.get_num_threads() == 1
            assert ours()["num_threads"] == 1
        assert sx.get_num_threads() == 3

    def test_by_name(self):
        with threadpoolctl.threadpool_limits({"smoothxent": 2}):
            assert sx.get_num_threads() == 2
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            assert sx.get_num_threads() == 3

    def test_num_threads_block_comes_first(self):
        """A limit has no effect in the block, and the number that it restores is not that of the block."""
        with sx.num_threads(2):
            with threadpoolctl.threadpool_limits(1):
                assert sx.get_num_threads() == 2
            assert sx.get_num_threads() == 2
        assert sx.get_num_threads() == 3
