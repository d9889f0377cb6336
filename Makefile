# `make demo` shows the whole job, `make test` says whether it still works. Check never writes; fix does.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PIP_PLAIN := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIP    := $(PIP_PLAIN) --constraint tests/constraints.txt

# The other official client that the door to Kaggle must work with, beside the pinned one.
OTHER  := $(VENV)/client-2.2.5

# Packages of Kaggle's image, oldest and newest that notebooks still run on: the travelling runtime is tested against both.
IMAGES := tests/images/2026-05.txt tests/images/2026-08.txt

# Three tests at a time, a file's tests in one process, in the order of tests/conftest.py: most of them wait for processes that they
# started.
JOBS   ?= 3
SPREAD := --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(SPREAD)

.DEFAULT_GOAL := help
.PHONY: help install demo check fix reference test test-all test-images bench coverage mutants clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## a virtual environment with everything

$(READY): pyproject.toml tests/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "found Python %d.%d, expected 3.11 or newer: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing (torch is large: some minutes)"
	$(PIP) --editable '.[train,test]'
	touch $@

demo: $(READY)  ## the whole job on bundled data against the stand-in, in minutes
	$(BIN)/kkb demo

check: $(READY)  ## lint, format and types; writes nothing
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/mypy --cache-dir=$(VENV)/.mypy

fix: $(READY)  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(READY)  ## renew the pages that are made from the code
	$(BIN)/python -m builder.cli.reference

test: check  ## every law and one case of each kind
	$(PYTEST) -m 'not slow and not bench'

# Exports are also run by the onnxruntime of Kaggle's generation, which the newest image's environment has.
test-all: test $(OTHER)/.ready $(VENV)-2026-08/.ready  ## every case that an issue names: those of `make test`, then the slow ones
	KKB_OTHER_CLIENT=$(abspath $(OTHER)) $(PYTEST) -m 'slow and not bench'
	PYTHONPATH=$(abspath $(OTHER)) $(PYTEST) -m 'not bench' tests/remote

# kaggle 2.2.5 asks for a certifi that not every index has; the tests talk plain HTTP to a local server and need none of it.
$(OTHER)/.ready: $(READY)
	$(PIP_PLAIN) --no-deps --target $(OTHER) kaggle==2.2.5 kagglesdk==0.1.38
	touch $@

bench: $(READY)  ## everything with a time in it
	$(BIN)/python -m pytest -m bench -s

coverage: $(READY)  ## how much of the source every test together runs, child processes included; fails when that is too little
	rm -f $(VENV)/.coverage $(VENV)/.coverage.*
	$(BIN)/python -m coverage run -m pytest $(SPREAD) -p tests.measured -m 'not bench'
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m tests.covered

mutants: $(READY)  ## changes of the planner, the clock and the blends that no test notices; renews tests/mutants.md
	$(BIN)/python -m tests.mutants

test-images: $(IMAGES:tests/images/%.txt=$(VENV)-%/.ready)  ## the travelling runtime with the packages of Kaggle's images
	@set -e; for image in $(IMAGES:tests/images/%.txt=%); do \
	  echo "tests/runtime with the packages of $$image"; \
	  $(VENV)-$$image/bin/python -m pytest $(SPREAD) -m 'not bench' -p no:cacheprovider tests/runtime; \
	done

$(VENV)-%/.ready: tests/images/%.txt
	test -x $(VENV)-$*/bin/python || $(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

clean:  ## remove environments and caches; weights, kernels and .kkb stay
	rm -rf $(VENV) $(VENV)-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
