"""Importing starts no thread and loads nothing heavy; the public names are the documented ones."""

import ast
import inspect
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import smoothxent as sx

FUNCTIONS = {
    "softmax": "(logits, *, axis=-1, temperature=1.0, where=None, dtype=None, out=None)",
    "log_softmax": "(logits, *, axis=-1, temperature=1.0, where=None, dtype=None, out=None)",
    "logsumexp": "(logits, *, axis=-1, temperature=1.0, where=None, keepdims=False, out=None)",
    "top_k_log_softmax": "(logits, k, *, axis=-1, temperature=1.0, where=None)",
    "log_softmax_at": "(logits, indices, *, axis=-1, temperature=1.0, where=None)",
    "cross_entropy": "(logits, targets, *, label_smoothing=None, prior=None, class_weight=None, "
        "sample_weight=None, ignore_index=-100, where=None, temperature=1.0, z_loss=0.0, axis=-1, "
        "reduction='mean', normalizer=None, out=None)",
    "cross_entropy_value_and_grad": "(logits, targets, *, label_smoothing=None, prior=None, class_weight=None, "
        "sample_weight=None, ignore_index=-100, where=None, temperature=1.0, z_loss=0.0, axis=-1, "
        "reduction='mean', normalizer=None, out=None, grad_out=None)",
    "cross_entropy_terms": "(logits, targets, *, prior=None, ignore_index=-100, where=None, temperature=1.0, "
        "axis=-1)",
    "linear_cross_entropy": "(hidden, weight, targets, *, bias=None, chunk_rows=None, progress=None, "
        "reduction='mean', normalizer=None, **loss_options)",
    "linear_cross_entropy_value_and_grad": "(hidden, weight, targets, *, bias=None, chunk_rows=None, "
        "progress=None, reduction='mean', normalizer=None, hidden_grad_out=None, weight_grad_out=None, "
        "bias_grad_out=None, **loss_options)",
    "score": "(logits, targets, *, chunk_rows=None, start=0, on_chunk=None, log_probs_out=None, "
        "grad_out=None, top_k=None, **loss_options)",
    "smooth_labels": "(targets, num_classes=None, *, label_smoothing, prior=None, where=None, axis=-1, "
        "dtype=<class 'numpy.float32'>, out=None)",
    "label_dropout": "(targets, num_classes, *, rate, prior=None, ignore_index=-100, rng=None)",
    "class_prior": "(targets, num_classes, *, sample_weight=None, pseudocount=0.0, ignore_index=-100)",
}  # fmt: skip
OTHER_NAMES = {
    "CrossEntropyTerms", "InternalError", "LabelError", "LinearCrossEntropy", "Score", "TopK", "__version__", "get_num_threads", "num_threads",
    "set_num_threads", "show_config", "tf_losses",
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures(name):
    signature = inspect.signature(getattr(sx, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == FUNCTIONS[name]


def test_public_names():
    assert set(sx.__all__) == set(FUNCTIONS) | OTHER_NAMES
    for name in sx.__all__:
        assert hasattr(sx, name)


def test_typed():
    assert Path(sx.__file__).with_name("py.typed").exists()


def test_show_config(capsys):
    config = sx.show_config(mode="dicts")
    texts = ["version", "build", "python", "numpy", "system", "cpu"]
    assert list(config) == [*texts, "simd", "threads"]
    assert all(isinstance(config[name], str) and config[name] for name in texts)
    assert config["version"] == sx.__version__
    assert re.fullmatch(r"(release|debug), for \w+ on \w+, [\w-]+", config["build"])
    assert config["python"].startswith(platform.python_version())
    assert config["numpy"] == np.__version__
    assert config["system"] == platform.platform()
    assert config["simd"]["level"] in config["simd"]["available"]
    assert config["threads"]["count"] == sx.get_num_threads()
    json.dumps(config)
    assert sx.show_config() is None
    printed = capsys.readouterr().out
    assert [line.partition(":")[0] for line in printed.splitlines() if line[0] != " "] == list(
        config
    )
    assert sx.__version__ in printed
    with pytest.raises(ValueError, match='^mode must be "stdout" or "dicts", got '):
        sx.show_config(mode="json")


def run(script):
    """The JSON that a fresh interpreter prints."""
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_import_loads_only_our_modules():
    loaded = run("""
import json, sys
import numpy
before = set(sys.modules)
import smoothxent
print(json.dumps(sorted(set(sys.modules) - before)))
""")
    foreign = (
        {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"smoothxent"}
    )
    assert not foreign
    heavy = {
        "asyncio",
        "concurrent",
        "email",
        "http",
        "multiprocessing",
        "subprocess",
        "unittest",
        "urllib",
    }
    assert not heavy & set(loaded)


def test_python_code_imports_what_the_extension_imports():
    """PyInstaller and its like look for imports in Python code only, and leave other modules out of a program."""
    loaded = run("""
import json, sys
import smoothxent
names = {name: module.__file__ for name, module in sys.modules.items() if name.startswith("smoothxent")}
print(json.dumps(names))
""")
    imported = {"smoothxent"}
    for file in loaded.values():
        tree = ast.parse(Path(file).read_text("utf-8") if file.endswith(".py") else "")
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                imported |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
            elif isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
    assert loaded.keys() <= imported


@pytest.mark.parametrize("kind", ["folder", "zip archive"])
def test_the_error_without_the_extension(tmp_path, kind):
    """In a clone that was not built, on another platform, in an archive: not an error about circular imports."""
    place = tmp_path / "copy"
    shutil.copytree(
        Path(sx.__file__).parent,
        place / "smoothxent",
        ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"),
    )
    if kind == "zip archive":
        place = Path(shutil.make_archive(place, "zip", place))
    process = subprocess.run(
        [sys.executable, "-c", "import smoothxent"],
        env=os.environ | {"PYTHONPATH": str(place)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == (
        f"ImportError: {place / 'smoothxent'} has no extension module for this Python, {sys.implementation.cache_tag} "
        f"on {sys.platform}: install smoothxent with pip, for this Python and not into an archive"
    )


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell a process its threads"
)
def test_import_and_small_calls_start_no_thread():
    counts = run("""
import json
import numpy as np

def threads():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("Threads:")).split()[1])

counts = [threads()]
import smoothxent as sx
counts.append(threads())
z, y = np.zeros((100, 100), np.float32), np.zeros(100, int)
sx.set_num_threads(8)
for dtype in ("f4", "f8"):
    sx.softmax(z.astype(dtype)), sx.log_softmax(z.astype(dtype)), sx.logsumexp(z.astype(dtype))
    sx.cross_entropy_value_and_grad(z.astype(dtype), y, label_smoothing=0.1)
counts.append(threads())
sx.softmax(np.zeros((5000, 1000), np.float32))
counts.append(threads())
print(json.dumps(counts))
""")
    assert counts[0] == counts[1] == counts[2]
    assert counts[3] > counts[2]  # otherwise the test would prove nothing


def test_subinterpreters_are_refused():
    """There a call would wait forever for a lock that its own thread holds. Only those that NumPy does not refuse."""
    code = """
try:
    import _interpreters as interpreters
    run, child = interpreters.exec, interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    run, child = interpreters.run_string, interpreters.create(isolated=False)
run(child, '''
import warnings
warnings.simplefilter("ignore")  # of NumPy
try:
    import smoothxent
except ImportError as error:
    print(error, flush=True)
''')
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert child.stdout.strip() == "smoothxent cannot be used in a subinterpreter", child.stderr


def test_another_binary_interface_of_numpy_is_refused():
    code = """
import ctypes
import numpy._core._multiarray_umath as umath

version = ctypes.CFUNCTYPE(ctypes.c_uint)(lambda: 0x03000000)
table = (ctypes.c_void_p * 100)(ctypes.cast(version, ctypes.c_void_p).value)
capsule = ctypes.pythonapi.PyCapsule_New
capsule.restype, capsule.argtypes = ctypes.py_object, 3 * [ctypes.c_void_p]
umath._ARRAY_API = capsule(ctypes.addressof(table), None, None)
import smoothxent
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    message = "ImportError: smoothxent needs NumPy 2, whose arrays are made in another way: install 'numpy>=2,<3'"
    assert child.stderr.strip().endswith(message), child.stderr
