# Almanac. `make help` lists everything.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
DEMO_HOME ?= data/demo
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install demo test check format bench bench-ingestion bench-accuracy bench-ablations bench-nights bench-backfill bench-text ui clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(INSTALLED) ## make .venv with what requirements.lock names

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Almanac needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: install ## real orders in, one night, forecasts out: a home in data/demo
	@test -f $(DEMO_HOME)/almanac.yaml || $(BIN)/almanac init --home $(DEMO_HOME) --example complete-journey
	$(BIN)/almanac run --home $(DEMO_HOME) --as-of 2017-11-26

test: install ## all tests
	$(BIN)/python -m pytest

check: install ## ruff and mypy, as in CI
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-ingestion bench-nights bench-backfill bench-accuracy bench-ablations bench-text ## every benchmark of the README

bench-ingestion: install ## ten million order lines through ingestion, validation and cleaning
	$(BIN)/python -m tests.benchmarks.bench_ingestion

bench-accuracy: install ## the model beside AutoETS and dynamic Theta on Online Retail II
	$(BIN)/python -m tests.benchmarks.bench_accuracy

bench-ablations: install ## what each switch of a training is worth
	$(BIN)/python -m tests.benchmarks.bench_accuracy --part ablations --json bench_ablations.json

bench-nights: install ## what one new day costs after 1, 2 and 4 years of history
	$(BIN)/python -m tests.benchmarks.bench_nights

bench-backfill: install ## 52 weekly nights of Online Retail II beside one night with training
	$(BIN)/python -m tests.benchmarks.bench_backfill

bench-text: install ## what words are worth, beside the words of other items and none
	$(BIN)/python -m tests.benchmarks.bench_text

ui: install ## Dagster and MLflow in the browser, on the demo home
	$(BIN)/almanac ui --home $(DEMO_HOME)

clean: ## remove caches (homes and .venv stay)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
