# make demo       deblurs the clip in examples/ and shows what it gained
# make test       what every change has to pass
# make test-all   the slow tests too
# make lint       style and types alone
# make fuzz       damages files of all kinds for MINUTES (10) and looks for crashes, hangs and bugs
# make clean      removes what the others made

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
PINS := constraints.txt pyproject.toml

.PHONY: demo test test-all lint fuzz clean

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

MINUTES ?= 10
fuzz: $(VENV)/.installed-dev
	$(RUN)/python tests/fuzz.py --minutes $(MINUTES)

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(PINS) | $(VENV)/bin/python
	@echo "Installing into $(VENV), once ..."
	$(RUN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(PINS) | $(VENV)/bin/python
	@echo "Installing into $(VENV), once ..."
	$(RUN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.installed
