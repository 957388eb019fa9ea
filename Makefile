PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test up lint types lock clean

help:  ## what can be made here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

.venv/ready: requirements-dev.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

lock: .venv/ready  ## pin what requirements-dev.in resolves to today
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command 'make lock' --output-file requirements-dev.lock requirements-dev.in
