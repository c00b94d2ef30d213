# Each of these works from a bare clone with Python >= 3.11, cargo and a C compiler:
#
#   make demo     train classifiers of handwritten digits with and without label smoothing
#   make test     tests of the Rust core, then of the Python package, its README and its docstrings
#   make lint     formatting, lints, types and the walls of CONTRIBUTING.md
#   make check    test and lint: what CI runs
#   make fmt      format everything in place
#   make clean    remove what was built
#
# Everything from PyPI goes into .venv. PYTHON=python3.13 chooses the interpreter of a new one (make clean first).

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

# maturin installs into the environment it is told; pyo3 must not look for another Python.
export VIRTUAL_ENV := $(abspath $(VENV))
unexport CONDA_PREFIX
export PIP_QUIET := 1

.PHONY: build demo test lint check fmt clean
.NOTPARALLEL:

build: $(VENV)/built

$(VENV)/maturin:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "smoothxent needs Python >= 3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip 'maturin>=1.16,<2'
	touch $@

# Editable: an edit of Python code needs no build, an edit of Rust code rebuilds the extension alone.
$(VENV)/built: $(VENV)/maturin pyproject.toml Cargo.toml Cargo.lock $(wildcard src/*.rs src/*/*.rs)
	$(BIN)/maturin develop --release --extras demo,test --group dev
	touch $@

demo: build
	$(BIN)/python examples/train_digits.py

test: build
	cargo test --release --locked
	$(BIN)/python -m pytest

lint: build
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --features python -- -D warnings
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest smoothxent
	$(BIN)/python tools/walls.py

check: test lint

fmt: build
	cargo fmt
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) target python/smoothxent/_smoothxent.*.so python/smoothxent/_smoothxent.pyd
