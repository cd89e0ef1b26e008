# Every target does its own set-up: system packages (apt, as root), a virtual environment, the build.
# PYTHON is the interpreter appc is installed for; it must be 3.11 or later.

PYTHON ?= /usr/bin/python3
VENV := .venv
# For each target, of which there are some two dozen.
FUZZ_SECONDS ?= 25
# A checkout of appc/spec: its validators are built from it. Without one, and without a network, they are skipped.
SPEC := $(or $(APPC_SPEC_SOURCES),.cache/spec)
STAMPS := .cache/stamps
BIN := $(VENV)/bin
PHASE := tools/phase
PYTEST := APPC_MUST=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

SOURCES := $(shell find src native tools/manual.py hatch_build.py pyproject.toml README.md LICENSE \
             -type f -not -path '*/_native/*' -not -name '*.pyc' 2>/dev/null)

export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.PHONY: help setup build lint format vm-kernel test test-all fuzz demo bench bench-launch bench-images bench-fetch \
    bench-serve bench-many man clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(STAMPS)/venv ## install what is missing: system packages and the virtual environment

$(STAMPS)/venv: pyproject.toml tools/requirements.py
	@mkdir -p $(STAMPS)
	@tools/packages build
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "appc needs Python 3.11 or later; set PYTHON")'
	@$(PHASE) "virtual environment" sh -c '$(PYTHON) -m venv $(VENV) && \
	    $(PYTHON) tools/requirements.py > .cache/requirements.txt && \
	    $(BIN)/python -m pip install -qq -r .cache/requirements.txt'
	@touch $@

build: $(STAMPS)/build ## compile, make the wheel and install it into .venv

$(STAMPS)/build: $(STAMPS)/venv $(SOURCES)
	@rm -rf dist
	@$(PHASE) build sh -c '$(BIN)/python -m pip wheel -qq --no-deps --no-build-isolation --wheel-dir dist . && \
	    $(BIN)/python -m pip install -qq --no-deps --force-reinstall dist/appc-*.whl'
	@touch $@

lint: setup ## ruff, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## format the Python files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

vm-kernel: setup ## download the kernel that the virtual machine of the tests boots
	@tools/packages vm
	@test -d .cache/vm/kernel || $(PHASE) "kernel of the virtual machine" $(BIN)/python tests/vm/kernel.py

test: build vm-kernel ## everything but what is slow or needs other implementations
	@tools/packages test
	@$(PYTEST) -q -m "not slow and not interop" --durations 5

test-all: build vm-kernel fuzz ## fuzzing, all tests, more faults, and whatever depends on the kernel in the virtual machine
	@tools/packages test interop
	@test -d $(SPEC) || git clone -q --depth 1 https://github.com/appc/spec $(SPEC) || \
	    echo "appc/spec is out of reach: its validators are skipped (APPC_SPEC_SOURCES can name a checkout)"
	@APPC_KILLS=200 APPC_SPEC_SOURCES="$$(realpath -e $(SPEC) 2>/dev/null)" $(PYTEST) -q --durations 10

fuzz: setup ## feed each reader of foreign bytes with nonsense for FUZZ_SECONDS; findings go to .cache/fuzz
	@tools/packages fuzz
	@mkdir -p .cache/fuzz
	@$(PHASE) "fuzz native" $(MAKE) -C native fuzz OUT=$(CURDIR)/build/native SECONDS=$(FUZZ_SECONDS) PYTHON=$(CURDIR)/$(BIN)/python
	@cd .cache/fuzz && PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/src $(CURDIR)/$(PHASE) "fuzz python" \
	    $(CURDIR)/$(BIN)/python -m fuzz.python.run --seconds $(FUZZ_SECONDS)

demo: build ## two real applications, packaged, signed, trusted and run as one pod
	@tools/packages demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/run

bench: bench-launch bench-images bench-fetch bench-serve bench-many ## launches, image operations, fetching and hosting against other tools: tables and JSON

bench-launch: build ## only launches, and the verbs of appc-oci; bench.json, bench-oci.json
	@tools/packages bench
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python bench/bench.py
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python bench/oci.py --json bench-oci.json
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python bench/metadata.py --json bench-metadata.json

bench-images: build ## only image operations (20 GB, an hour; BENCH=--quick for a look); bench-images.json
	@tools/packages bench-images
	@PATH="$(CURDIR)/$(BIN):$(CURDIR)/.cache/bin:$$PATH" $(BIN)/python bench/images.py $(BENCH)

bench-fetch: build ## only fetching over TLS (15 GB; BENCH=--quick for a look); bench-fetch.json
	@tools/packages bench-fetch
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python bench/fetch.py $(BENCH)

bench-serve: build ## only hosting, beside nginx; bench-serve.json
	@tools/packages bench-serve
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python bench/serve.py --json bench-serve.json

bench-many: build ## only 500 pods at once; bench-many.json
	@tools/packages bench-serve
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python bench/many.py --json bench-many.json

man: setup ## manual pages and completions into build/share, and docs/cli.md
	@$(BIN)/python tools/manual.py --share build/share
	@$(BIN)/python tools/manual.py --docs docs/cli.md

clean: ## remove what was built
	rm -rf build dist $(VENV) $(STAMPS) .mypy_cache .ruff_cache .pytest_cache .hypothesis src/appc/_native
