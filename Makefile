# Everything a newcomer or contributor runs. Each target makes .venv and installs what it needs.
#   make chat    talk to the default model        make check   format, lint, types, layers
#   make test    every test, with coverage        make bench   speed against peers

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q

# Native sources: a change here rebuilds the module.
NATIVE := CMakeLists.txt pyproject.toml $(wildcard csrc/*)

.PHONY: chat test check bench clean preflight
.DELETE_ON_ERROR:

chat: $(VENV)/.serve
	@$(BIN)/duologue chat

test: $(VENV)/.dev
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/dialogue.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/footprint.py
	$(BIN)/python benchmarks/pages.py

# Dependencies at known versions (constraints.txt), then the package itself, editable.
$(VENV)/.serve: $(NATIVE) constraints.txt | preflight
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Duologue into $(VENV) (once; about a minute)"
	@$(PIP) install -c constraints.txt "scikit-build-core>=1.0" "nanobind>=3.0" "cmake>=3.18" ninja
	@$(PIP) install -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.serve
	@echo "installing the tools for training and testing (PyTorch is large)"
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install -c constraints.txt --no-build-isolation -e ".[dev]"
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "installing the peers to compare with"
	@$(PIP) install -c constraints.txt --no-build-isolation -e ".[bench]"
	@touch $@

preflight:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Duologue needs Python 3.11 or newer: install it, or run make PYTHON=python3.x"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: on Debian or Ubuntu run apt-get install python3-venv"; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1 || \
	  { echo "Duologue needs a C++17 compiler: apt-get install g++ (Debian, Ubuntu), dnf install gcc-c++ (Fedora), xcode-select --install (macOS)"; exit 1; }

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
