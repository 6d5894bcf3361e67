# One environment, two commands:  make demo   make test
# Both make .venv on first use (Python 3.11+ is all they need) and start in seconds after that.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv

.PHONY: help setup demo test lint clean

help:
	@echo "make demo   the paper's path on a laptop: scenes, baseline, SFT, GRPO, evaluation -> demo/report.html"
	@echo "make test   the test suite"
	@echo "make lint   ruff and mypy"

setup: .venv/.installed

# sgbench (a peer that tests compare with) declares numpy<2 but runs on 2.x: installed without its dependencies.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "r1sgg needs Python 3.11 or later; this is %s. Name another with: make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[train,web,ray,docs,dev]'
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --no-deps sgbench
	@touch $@

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" bash runs/demo.sh

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
