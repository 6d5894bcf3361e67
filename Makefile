# One environment, two commands:  make demo   make test
# Both create .venv on first use (they need only Python 3.11 or later), and start within seconds after that.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv

.PHONY: help setup demo test test-all test-vllm lint docs clean

help:
	@echo "make demo       the paper's experiment on a laptop -> demo/report.html"
	@echo "make test       the test suite"
	@echo "make test-all   the test suite with all slow tests and every member of each sampled matrix"
	@echo "make test-vllm  tests of vLLM: engine, server, GRPO's rollouts, in an environment of their own (Linux)"
	@echo "make lint       ruff, mypy and the import contracts"
	@echo "make docs       the documentation -> site/, with a check of all links"

setup: .venv/.installed

# sgbench (a peer that tests compare with) declares numpy<2 but runs on 2.x: installed without its dependencies.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "r1sgg needs Python 3.11 or later, found %s; choose another with: make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[train,web,api,ray,docs,dev]'
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --no-deps sgbench
	@touch $@

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" bash runs/demo.sh

docs: setup
	$(BIN)/python docs/reference.py > docs/cli.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# One process per core, at most four; the tests of a file run in one process because they share models.
test: setup
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test-all: setup
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile -m ''

# Training and vLLM together, with an older version of transformers. Packages of both environments come from uv's cache.
.venv-vllm/.installed: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	.venv-vllm/bin/uv pip install --quiet --python .venv-vllm/bin/python --no-deps --requirement constraints-vllm.txt --editable .
	@touch $@

test-vllm: .venv-vllm/.installed
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m pytest tests/vllm

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

clean:
	rm -rf .venv .venv-vllm demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
