# make demo       deblurs the clip in examples/ and shows what it gained
# make test       what every change has to pass
# make test-all   the slow tests too
# make lint       style and types alone
# make dist       the wheel and the sdist, into dist/
# make docs       the pages as a site, into site/
# make fuzz       damages files of all kinds for MINUTES (10) and looks for crashes, hangs and bugs
# make tampered   damages and swaps what runs kept to go on with, and looks for wrong results
# make races      runs pairs of commands at once, kills some, and looks for what is mixed or lost
# make clean      removes what the others made

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
PINS := constraints.txt pyproject.toml
INSTALL := $(RUN)/python -m pip install --quiet -c constraints.txt

# What PyPI has for Linux brings 3 GB of CUDA along; PyTorch's own index has builds without.
TORCH_INDEX ?= $(shell [ "$$(uname -s)" != Linux ] || nvidia-smi -L >/dev/null 2>&1 || \
	echo https://download.pytorch.org/whl/cpu)
PYTORCH = $(RUN)/python -c "import torch" 2>/dev/null || test -z "$(TORCH_INDEX)" || \
	$(INSTALL) --no-deps --retries 1 --timeout 15 torch --index-url $(TORCH_INDEX) || \
	echo "$(TORCH_INDEX) does not answer: PyTorch as other packages"

.PHONY: demo test test-all lint dist docs fuzz tampered races clean

demo: $(VENV)/.installed
	$(RUN)/python examples/run_demo.py

test: lint
	$(RUN)/pytest -q -n auto -m "not slow"

test-all: lint
	$(RUN)/pytest -q -n auto

lint: $(VENV)/.installed-dev
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

dist: $(VENV)/bin/python
	$(INSTALL) hatchling
	$(RUN)/python -m hatchling build -d dist

docs: $(VENV)/bin/python
	$(INSTALL) mkdocs-material mkdocstrings-python
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict --quiet
	@echo "site/index.html"
MINUTES ?= 10
fuzz: $(VENV)/.installed-dev
	$(RUN)/python tests/fuzz.py --minutes $(MINUTES)

tampered: $(VENV)/.installed-dev
	$(RUN)/python tests/fuzz_state.py --minutes $(MINUTES)

races: $(VENV)/.installed-dev
	$(RUN)/python tests/fuzz_races.py --minutes $(MINUTES)

clean:
	rm -rf $(VENV) out dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(PINS) | $(VENV)/bin/python
	@echo "Installing into $(VENV), once ..."
	@$(PYTORCH)
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-dev: $(PINS) | $(VENV)/bin/python
	@echo "Installing into $(VENV), once ..."
	@$(PYTORCH)
	$(INSTALL) -e ".[dev]"
	touch $@ $(VENV)/.installed
