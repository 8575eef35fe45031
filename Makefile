# `make demo` and `make test` set up .venv by themselves; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One constraints file keeps everyone on versions that were tested together.
CONSTRAINTS := constraints.txt
# Two processes of one thread each finish sooner than one process of two.
TESTS := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2
# Of `make test-device`: a fake one in host memory, built by the first run, or cuda.
DEVICE ?= fake
# Budget of `make atlas-run`.
HOURS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-all test-device test-isa lint types format docs atlas atlas-run clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

setup: $(VENV)/.ready  ## create .venv with the package and what the tests need

# Modules are compiled when they are first imported: thousands of the libraries' never are.
INSTALL := $(BIN)/pip install --quiet --no-compile --constraint $(CONSTRAINTS)

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "medrobust needs Python 3.11 or newer, this is " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(INSTALL) --editable .
	touch $@

$(VENV)/.ready: $(VENV)/.installed
	$(INSTALL) --editable '.[test]'
	# Without their dependencies: an old requests, and visdom, which does not build.
	$(INSTALL) --no-deps torchattacks adv-lib
	touch $@

demo: $(VENV)/.installed  ## train a small victim on generated lesions, attack it, print and draw the table
	$(BIN)/medrobust train data=dermamnist data.phantom=true model=resnet18 trainer.max_epochs=5
	$(BIN)/medrobust evaluate -m experiment=demo

test: setup lint types  ## lint, types and the default tests
	$(TESTS) -m 'not slow and not device'

test-slow: setup  ## the long tests: every experiment to its page, kills, Slurm
	$(TESTS) --dist loadgroup -m 'slow and not device'

test-device: setup  ## every attack, threat, defense and training on a device; DEVICE=fake or cuda
	DEVICE=$(DEVICE) $(TESTS) -m device tests/device

test-all: test test-slow test-device  ## all three

test-isa: setup  ## the default tests under every instruction set, two threads, three seeds; lists margins
	PYTHONPATH=src:. $(BIN)/python -m tests.margins --table outputs/margins.md

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

format: setup  ## rewrite files as the linter wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## build the site into outputs/site; fails on a broken link
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[docs]'
	$(BIN)/mkdocs build --strict --site-dir outputs/site

atlas: setup  ## rebuild the pages of the atlas from its rows; computes nothing
	$(BIN)/python -m medrobust.report.atlas

atlas-run: setup  ## make rows of the atlas, most informative first, HOURS=1 at most; resumable
	$(BIN)/python -m medrobust.report.atlas.run --hours $(HOURS)

clean:  ## remove the environment and caches; keeps data, checkpoints and results
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
