# Everything a newcomer or contributor runs. Each target makes .venv and installs what it needs.
#   make chat    talk to the default model        make check   format, lint, types, layers
#   make serve   the same on a page in the browser, and for programs
#   make test    every test, with coverage        make bench   speed against peers
#
# The C++ alone, without Python; `make check` runs all three:
#   make native-test   its own tests              make sanitize   the same under the sanitizers
#   make arm           the same, cross-compiled for 64-bit Arm and run under qemu where these are installed

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q

# Native sources: a change here rebuilds the module.
NATIVE := CMakeLists.txt pyproject.toml $(wildcard csrc/*)

# The one of the environment if it is there: a machine may have no cmake, or an old one.
CMAKE  = $(or $(wildcard $(BIN)/cmake),cmake)
JOBS  ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
ARM   := aarch64-linux-gnu-g++
# ThreadSanitizer of older compilers cannot start where the system scatters addresses widely.
FIXED_ADDRESSES = $(shell setarch -R true 2>/dev/null && echo setarch -R)
# $(call build_native_tests,folder,more options)
build_native_tests = echo "building $(1)/native_tests" && \
  $(CMAKE) -S . -B $(1) -DDUOLOGUE_NATIVE_TESTS=ON -DCMAKE_RULE_MESSAGES=OFF -DCMAKE_TARGET_MESSAGES=OFF \
    $(2) --log-level=WARNING >/dev/null && MAKEFLAGS=--no-print-directory $(CMAKE) --build $(1) -j$(JOBS)

.PHONY: chat serve test check native-test sanitize arm bench clean preflight
.DELETE_ON_ERROR:

chat: $(VENV)/.serve
	@$(BIN)/duologue chat

serve: $(VENV)/.http
	@$(BIN)/duologue serve

test: $(VENV)/.dev
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory native-test arm sanitize

native-test:
	@$(call build_native_tests,build/native)
	build/native/native_tests

# Whatever the sanitizers find ends the run. Threads are what ThreadSanitizer looks at: the rest is slow there.
sanitize:
	@$(call build_native_tests,build/native-address,"-DDUOLOGUE_SANITIZE=address;undefined")
	build/native-address/native_tests
	@$(call build_native_tests,build/native-thread,-DDUOLOGUE_SANITIZE=thread)
	$(FIXED_ADDRESSES) build/native-thread/native_tests threads: pool: models:

# The compiler's whole path: cmake forgets the other options when the name of it seems to change.
arm:
	@if ! command -v $(ARM) >/dev/null; then \
	  echo "arm: skipped, $(ARM) is missing (Debian, Ubuntu: apt-get install g++-aarch64-linux-gnu)"; \
	elif $(call build_native_tests,build/native-arm,-DCMAKE_CXX_COMPILER=$$(command -v $(ARM)) \
	    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_EXE_LINKER_FLAGS=-static); then \
	  if command -v qemu-aarch64 >/dev/null; then \
	    qemu-aarch64 -cpu max build/native-arm/native_tests; \
	  else \
	    echo "arm: compiled but not run, qemu-aarch64 is missing (Debian, Ubuntu: apt-get install qemu-user)"; \
	  fi; \
	else \
	  exit 1; \
	fi

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/dialogue.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/serve_http.py
	$(BIN)/python benchmarks/serve_live.py
	$(BIN)/python benchmarks/serve_soak.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/footprint.py
	$(BIN)/python benchmarks/families.py
	$(BIN)/python benchmarks/pages.py

# Dependencies at known versions (constraints.txt), then the package itself, editable.
$(VENV)/.serve: $(NATIVE) constraints.txt | preflight
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Duologue into $(VENV) (once; about a minute)"
	@$(PIP) install -c constraints.txt "scikit-build-core>=1.0" "nanobind>=3.0" "cmake>=3.18" ninja
	@$(PIP) install -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/.http: $(VENV)/.serve
	@echo "installing what the server needs"
	@$(PIP) install -c constraints.txt --no-build-isolation -e ".[serve]"
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
