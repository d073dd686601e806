# Needs only Python 3.11 to 3.13. Everything lives in .venv; `make clean` takes it away again.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test check docs bench clean

demo: $(VENV)/.ready          ## train, break, harden and judge a digit classifier
	$(BIN)/holdfast demo

test: $(VENV)/.ready-dev      ## the whole suite
	$(BIN)/python -m pytest

check: $(VENV)/.ready-dev     ## lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.ready-docs     ## the documentation site in site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.ready-dev     ## attack throughput against the bare cost of the passes
	$(BIN)/python benchmarks/pgd_overhead.py

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[dp,fair,tables,skops,trees]'
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(INSTALL) --editable '.[dev]'
	touch $@

$(VENV)/.ready-docs: $(VENV)/.ready-dev
	$(INSTALL) --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .hypothesis
