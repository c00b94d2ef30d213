# Each of these works from a bare clone with Python >= 3.11, Rust >= 1.89 (cargo) and a C compiler:
#
#   make demo     train classifiers of handwritten digits with and without label smoothing
#   make demo-tokens           the same at K = 1000, on tokens of Python's own library
#   make test     tests of the Rust core, then of the Python package, its README and its docstrings
#   make test-frameworks       tests with real PyTorch, LightGBM, XGBoost and Dask, in a separate environment: gigabytes
#   make docs     the site, from docs/ and the docstrings, into target/docs; warnings and broken links are errors
#   make lint     formatting, lints, types, the rules on modules in CONTRIBUTING.md and `make instructions`
#   make wheel    a wheel and a source distribution in dist/, audited, each installed into an empty environment and
#                 tested there; WHEEL_TESTS=test_values.py and SDIST_TESTS choose files of tests/
#   make check    test, test-frameworks, docs, wheel and lint: what CI runs
#   make fmt      format everything in place
#   make instructions          count the instructions of the kernels, and fail if they are more than on record;
#                              if valgrind is missing, it only says so, or fails with INSTRUCTIONS=--require
#   make record-instructions   record them
#   make bench    time it beside its peers, in a separate environment: gigabytes; BENCH=--quick for a part
#   make scaling  cost per logit by size and threads, measured and modelled; SCALING=--full to 10^9 logits: 9 GB
#   make serve-bench           latency and throughput of examples/scoring_server.py, beside the same server with SciPy
#   make notices  rewrite THIRD_PARTY_NOTICES.txt, after a change of Cargo.lock
#   make audit    advisories, licences and sources of dependencies: needs the network and cargo-deny
#                 (cargo install --locked cargo-deny)
#   make clean    remove all that was built
#
# PyPI packages go to .venv, peers to .venv-bench, frameworks to .venv-frameworks, Sphinx to .venv-docs, those of
# `make wheel` to .venv-wheel and .venv-installed. PYTHON=python3.13 chooses the interpreter (make clean first).

PYTHON ?= python3
VENV   ?= .venv
EXTRAS ?= demo,test
BENCH  ?=
INSTRUCTIONS ?=
SCALING ?=
WHEEL_TESTS ?=
SDIST_TESTS ?= test_import.py test_docs.py test_values.py test_error_texts.py
# Tests of the Python package run in a process for each core; one that has finished takes over tests of the others.
WORKERS ?= --numprocesses=auto --dist=worksteal
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
AUDIT  := .venv-audit/$(notdir $(BIN))
FRAMEWORKS := .venv-frameworks/$(notdir $(BIN))
DOCS   := .venv-docs/$(notdir $(BIN))
# Absolute, and quoted in recipes: the path may have spaces, at which functions of make would split it.
WHEEL := $(CURDIR)/.venv-wheel/$(notdir $(BIN))
INSTALLED := $(CURDIR)/.venv-installed/$(notdir $(BIN))
TMPDIR ?= /tmp
FIRST_CALL := "import sys, smoothxent as sx; assert sx.__file__.startswith(sys.prefix); print(sx.cross_entropy([[0.0, 0.0]], [1]))"
# The C library here is newer than those of many users; zig links for an old one. zig would also link its own unwinder,
# but at the end of Python the C library unwinds daemon threads with libgcc_s, and the two unwinders together crash.
OLD_LIBC := $(if $(filter Linux,$(shell uname -s)),--zig --compatibility manylinux_2_17)
SYSTEM_UNWINDER = $(if $(OLD_LIBC),-C link-arg=$(shell cc -print-file-name=libgcc_s.so.1))

# maturin installs into this environment; pyo3 must not look for another Python.
export VIRTUAL_ENV := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)
unexport CONDA_PREFIX
# Python imports the installed packages, or those that a recipe names.
unexport PYTHONPATH
# Hundreds of test processes import NumPy: one of them compiles it to bytecode for all.
unexport PYTHONDONTWRITEBYTECODE
export PIP_QUIET := 1

.PHONY: build demo demo-tokens test test-core test-frameworks docs wheel lint check fmt instructions record-instructions bench peers limits scaling serve-bench notices audit clean
ifndef AT_ONCE # set by recipes that run in parallel
.NOTPARALLEL:
endif

# Packages are installed while the extension is compiled.
ifdef AT_ONCE
build: $(VENV)/built
	@:
else
build:
	@$(MAKE) --no-print-directory --jobs=2 AT_ONCE=yes build
endif

$(VENV)/maturin:
	@echo 'First build, about 70 seconds on two cores: packages from PyPI ($(EXTRAS)) into $(VENV), and the Rust extension.'
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "smoothxent needs Python >= 3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip 'maturin>=1.16,<2'
	touch $@

# Most modules are never imported and need no bytecode; compiling them would slow down the Rust compiler.
$(VENV)/packages: $(VENV)/maturin pyproject.toml
	$(BIN)/python tools/requirements.py $(EXTRAS) > $@.txt
	$(BIN)/python -m pip install --no-compile --requirement $@.txt
	touch $@

$(VENV)/linters: $(VENV)/maturin pyproject.toml
	$(BIN)/python -m pip install --no-compile --group dev
	touch $@

# Without the flags of make, which name a job server that only make can use.
$(VENV)/extension: $(VENV)/maturin pyproject.toml Cargo.toml Cargo.lock python/Cargo.toml $(foreach rs,/*.rs /*/*.rs /*/*/*.rs,$(wildcard src$(rs) python/src$(rs)))
	MAKEFLAGS= $(BIN)/maturin develop --release --skip-install
	touch $@

# Editable: changed Python code needs no build, changed Rust code rebuilds only the extension.
$(VENV)/built: $(VENV)/packages $(VENV)/extension
	MAKEFLAGS= $(BIN)/maturin develop --release --extras $(EXTRAS)
	touch $@

# An environment for a group of packages in pyproject.toml: frameworks, which are gigabytes, docs or wheel.
.venv-%/installed: pyproject.toml
	@echo 'Installs the packages of the group $* from PyPI into .venv-$*.'
	$(PYTHON) -m venv .venv-$*
	.venv-$*/$(notdir $(BIN))/python -m pip install --upgrade pip
	.venv-$*/$(notdir $(BIN))/python -m pip install --upgrade --group $*
	touch $@

demo: build
	$(BIN)/python examples/train_digits.py

demo-tokens: build
	$(BIN)/python examples/train_tokens.py

# The core is compiled once, for its tests and for the extension, while packages are installed.
test:
	$(MAKE) --jobs=2 AT_ONCE=yes test-core build
	$(BIN)/python -m pytest $(WORKERS)

test-core:
	MAKEFLAGS= cargo test --release --locked

# The extension of `make build`, in the tree, works for every Python >= 3.11.
test-frameworks: build .venv-frameworks/installed
	PYTHONPATH=python $(FRAMEWORKS)/python -m pytest tests/frameworks tests/test_torch_tensors.py

# Docstrings are read from the tree. Formulas are MathML, so the pages need no network.
docs: build .venv-docs/installed
	rm -rf target/docs
	PYTHONPATH=python $(DOCS)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env \
		--doctree-dir target/doctrees docs target/docs
	$(DOCS)/python tools/links.py target/docs

# The wheel is built from the source distribution, so its tests are tests of both. It is installed without a compiler,
# called with only NumPy installed, then tested from another folder. The installed source distribution is tested by
# its own files of tests/: all are collected, those of SDIST_TESTS run.
# Cargo starts with an empty folder: all files of a source distribution have one date, so it would use older builds.
wheel: export CARGO_TARGET_DIR := $(CURDIR)/target/wheel
wheel: .venv-wheel/installed
	rm -rf dist target/sdist target/wheel
	VIRTUAL_ENV="$(CURDIR)/.venv-wheel" PATH="$(WHEEL):$$PATH" RUSTFLAGS="$(SYSTEM_UNWINDER)" \
		maturin build --release --sdist $(OLD_LIBC) --compression-level 9 --out dist
	"$(WHEEL)/python" tools/distributions.py dist/*
	"$(WHEEL)/abi3audit" --strict dist/*.whl
	$(PYTHON) -m venv --clear .venv-installed
	PATH="$(INSTALLED)" "$(INSTALLED)/python" -m pip install dist/*.whl
	cd "$(TMPDIR)" && "$(INSTALLED)/python" -c $(FIRST_CALL)
	"$(INSTALLED)/python" -m pip install "$$(ls dist/*.whl)[$(EXTRAS)]"
	cd "$(TMPDIR)" && "$(INSTALLED)/python" -m pytest $(WORKERS) $(or $(foreach file,$(WHEEL_TESTS),"$(CURDIR)/tests/$(file)"),"$(CURDIR)/tests")
	$(PYTHON) -m venv --clear .venv-installed
	"$(INSTALLED)/python" -m pip install "$$(ls dist/*.tar.gz)[$(EXTRAS)]"
	mkdir target/sdist && tar -xzf dist/*.tar.gz -C target/sdist --strip-components=1
	cd target/sdist && "$(INSTALLED)/python" -m pytest --collect-only --quiet --quiet
	cd target/sdist/tests && "$(INSTALLED)/python" -m pytest $(WORKERS) $(SDIST_TESTS)

lint: build $(VENV)/linters
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --manifest-path benches/limits/Cargo.toml --target-dir target/limits -- -D warnings
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest smoothxent --mypy-config-file pyproject.toml --allowlist tools/stubtest_allowed.txt --ignore-unused-allowlist
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/python tools/walls.py
	$(BIN)/python tools/budgets.py
	$(BIN)/python -m benches.instructions $(INSTRUCTIONS)

check: test test-frameworks docs wheel lint

fmt: build $(VENV)/linters
	cargo fmt --all
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

instructions: $(VENV)/maturin
	$(BIN)/python -m benches.instructions $(INSTRUCTIONS)

record-instructions: $(VENV)/maturin
	$(BIN)/python -m benches.instructions --record

# The tests need none of the peers, and must not run with the versions that these require.
bench:
	$(MAKE) VENV=.venv-bench EXTRAS=bench peers

peers: build limits
	$(BIN)/python -m benches.peers $(BENCH)

limits:
	cargo build --release --locked --manifest-path benches/limits/Cargo.toml --target-dir target/limits

scaling: build limits
	$(BIN)/python -m benches.scaling $(SCALING)

serve-bench: build
	$(BIN)/python -m benches.serve

notices: $(VENV)/maturin
	$(BIN)/python tools/notices.py

# pip-audit has its own environment, so that it does not audit itself. Strict: a package that is not found is an error.
audit: build
	cargo deny --workspace --locked check
	$(PYTHON) -m venv .venv-audit
	$(AUDIT)/python -m pip install pip-audit
	$(BIN)/python -m pip freeze --exclude-editable > .venv-audit/installed.txt
	$(AUDIT)/pip-audit --strict --no-deps --disable-pip -r .venv-audit/installed.txt

clean:
	rm -rf $(VENV) .venv-audit .venv-bench .venv-docs .venv-frameworks .venv-installed .venv-wheel dist target python/smoothxent/_smoothxent.*.so python/smoothxent/_smoothxent.pyd
