# The two commands: `make run` and `make test`. Everything else is for people who work on Tollway.
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3.14 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The product as the image has it: installed into a folder, the path of a call compiled.
COMPILED := .tollway/compiled
SOURCES := deploy/compile.py pyproject.toml $(shell find gateway migrations -type f -not -name '*.pyc')

# A step that fails or is interrupted is done again from its start.
.DELETE_ON_ERROR:
.PHONY: help run test compiled bench lock format clean

help: ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## Start the gateway with embedded Postgres and Redis, a demo upstream and two demo keys.
	@$(BIN)/tollway run --demo

test: $(VENV)/dev.stamp ## Run everything CI runs.
	@$(BIN)/python -m tests

compiled: $(COMPILED)/stamp ## Compile the path of a call, as the image has it, into .tollway/compiled.

bench: $(COMPILED)/stamp ## Compare speed and memory with nginx and other gateways.
	@PYTHONSAFEPATH=1 PYTHONPATH=$(COMPILED):. $(BIN)/python -m bench $(PARTS)

lock: $(VENV)/dev.stamp ## Pin the newest allowed dependencies.
	@$(INSTALL) uv
	@$(BIN)/uv pip compile -q --upgrade pyproject.toml --extra embedded --group build --universal --generate-hashes \
		--python-version 3.11 --custom-compile-command "make lock" -o requirements/run.txt
	@$(BIN)/uv pip compile -q --upgrade pyproject.toml --extra embedded --group build --group compile --group dev \
		--universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
		-c requirements/run.txt -o requirements/dev.txt
	@$(BIN)/uv pip compile -q --upgrade pyproject.toml --group build --group compile --universal \
		--generate-hashes --python-version 3.11 --custom-compile-command "make lock" \
		-c requirements/dev.txt -o requirements/compile.txt

format: $(VENV)/dev.stamp ## Format the code.
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean: ## Remove the environment and the data of `make run`.
	rm -rf $(VENV) .tollway

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Tollway needs Python 3.11 or newer with venv and pip on the PATH." >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "Installing Tollway into $(VENV) ..."
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(BIN)/python -m ensurepip >/dev/null
	@$(INSTALL) --require-hashes --only-binary :all: -r requirements/run.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(COMPILED)/stamp: $(SOURCES) | $(VENV)/dev.stamp
	@echo "Compiling the path of a call into $(COMPILED) ..."
	@rm -rf $(COMPILED)
	@$(INSTALL) --no-deps --no-build-isolation --target $(COMPILED) .
	@$(BIN)/python deploy/compile.py $(COMPILED)
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp | $(BIN)/python
	@echo "Installing the development tools ..."
	@$(INSTALL) --require-hashes --only-binary :all: --no-deps -r requirements/dev.txt
	@touch $@
