# One verb per need, the same at home and in CI. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO_OUT := demo-out
# Test files by two processes: many tests wait for Ray, for storage, or for processes to start. One
# thread each for torch and BLAS: four on two cores wait for each other. Tests that need two set them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check bench gpu-report system-packages wheel clean

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

# In two stages, so that the demo need not wait for linters and test servers.
$(VENV)/.xytok: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.12 …"; exit 1; }
	@.ci/system-packages compiler
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e '.[audit]'
	@touch $@

$(VENV)/.installed: $(VENV)/.xytok
	$(PIP_INSTALL) -e '.[audit,train,codecs,speechtokenizer,dev]'
	@touch $@

setup: $(VENV)/.installed ## create .venv and install everything into it

demo: $(VENV)/.xytok ## tokenize the bundled speech and audit the codes
	@BIN=$(BIN) OUT=$(DEMO_OUT) .ci/demo

test: setup system-packages ## every test that is quick
	$(PYTEST) -m 'not slow'

test-slow: setup system-packages ## the long forms
	$(PYTEST) -m slow

check: setup ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup ## what this machine gives: codec, host path, storage, end to end
	$(BIN)/xytok bench

bench-%: setup ## one benchmark of tests/benchmarks: bench-codec, bench-host, …
	$(BIN)/python tests/benchmarks/bench_$*.py

prove-%: setup ## the evidence for a claim: prove-fleet, prove-audit, prove-evaluate, …
	$(BIN)/python tests/benchmarks/prove_$*.py

gpu-report: ## put the records of tests/gpu/run.py into tests/benchmarks/RESULTS.md
	@$(PYTHON) tests/gpu/report.py $(RECORDS)

wheel: setup ## build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist .

system-packages: ## install what tests need beyond pip (root on Debian), else name it
	@.ci/system-packages compiler chromium

clean: ## remove what the targets above made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build $(DEMO_OUT)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
