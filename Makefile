# Needs only Python 3.11 to 3.13. Everything lives in .venv; `make clean` takes it away again.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PEERS ?= .venv-peers
PEERS_SCAN ?= .venv-peers-scan
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test check docs bench peers peers-scan clean

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

peers: $(PEERS)/.ready        ## an environment with other attack libraries, to compare with

# Without their dependencies, which pin old versions or bring what the benchmarks do not use.
$(PEERS)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt \
	  eagerpy GitPython requests six tqdm numba setuptools
	$(PEERS)/bin/python -m pip install --quiet --no-deps foolbox==3.3.4 torchattacks==3.5.1 \
	  adversarial-robustness-toolbox==1.20.1 adv-lib==0.2.8
	touch $@

peers-scan: $(PEERS_SCAN)/.ready   ## an environment with other scanners of model files

$(PEERS_SCAN)/.ready:
	$(PYTHON) -m venv $(PEERS_SCAN)
	$(PEERS_SCAN)/bin/python -m pip install --quiet fickling==0.1.12 modelscan==0.8.8 \
	  picklescan==1.0.5 modelaudit==0.2.54
	touch $@

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[audit,bom,dp,fair,tables,skops,signing,trees]'
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(INSTALL) --editable '.[dev]'
	touch $@

$(VENV)/.ready-docs: $(VENV)/.ready-dev
	$(INSTALL) --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) $(PEERS_SCAN) site .mypy_cache .ruff_cache .hypothesis
