# Bare `make` prints this help. Needs Python 3.11 or newer and make; everything else goes into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help farm install test lint format loadtest loadtest-compare resilience docs clean

# The first of these that is 3.11, 3.12 or 3.13; override: make PYTHON=/usr/bin/python3.12 farm
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

# What the farm can read besides plain files; `pip install 'connector-farm[…]'` takes the same words.
EXTRAS := documents,github,imap,obsidian,webhooks

# What `make farm` reads; without it, the project's own documentation. The shell gets it from the environment,
# so that a name with spaces or quotes stays one name.
FOLDER ?=
export FOLDER

# A .venv that was moved, or whose Python is gone, is made anew.
STALE := $(shell test -e $(VENV)/python.stamp && \
	! { grep -qxF '$(CURDIR)' $(VENV)/python.stamp && $(BIN)/python -c '' 2>/dev/null; } && rm -f $(VENV)/*.stamp)

help: ## print this help
	@echo "usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make farm FOLDER=~/Documents     set up, read that folder, watch it"
	@echo "  FARM_HOME=DIR make farm          keep the farm's state in DIR"

farm: $(VENV)/documents.stamp ## set everything up, start the farm on FOLDER, leave it watching
ifeq ($(strip $(FOLDER)),)
	@$(BIN)/farm add . --name farm-docs --connector local_files --include '/*.md' --include '/docs/**'
else
	@$(BIN)/farm add "$$FOLDER"
endif
	@exec $(BIN)/farm start

install: $(VENV)/documents.stamp ## set up .venv with the farm and its document readers
	@echo "installed: $(BIN)/farm"

# What measures time runs alone; the rest mostly waits, and waits together.
ALONE := tests/workers tests/loadtest tests/cli tests/ops

test: $(VENV)/dev.stamp ## set up and run the tests, or some: ARGS=tests/core
ifeq ($(strip $(ARGS)),)
	@$(BIN)/python -m pytest -n 3 --dist loadfile $(ALONE:%=--ignore=%)
	@$(BIN)/python -m pytest $(ALONE)
else
	@$(BIN)/python -m pytest $(ARGS)
endif

lint: $(VENV)/dev.stamp ## check style and types
	@bad=0; $(BIN)/ruff check . || bad=1; $(BIN)/ruff format --check . || bad=1; $(BIN)/mypy || bad=1; exit $$bad

format: $(VENV)/dev.stamp ## bring the code into shape
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

loadtest: $(VENV)/dev.stamp ## measure the farm on this machine: SCENARIO=noop (or another, or all)
	@$(BIN)/python -m loadtest run $(or $(SCENARIO),noop) $(ARGS)

loadtest-compare: $(VENV)/dev.stamp ## the same work through other queues, in turn; QUICK=1: five minutes
	@$(BIN)/python -m loadtest compare $(if $(QUICK),--quick) $(ARGS)

# So many kills of the farm, and of each other fault as many as go with them: 1000 take hours.
N ?= 1000
resilience: $(VENV)/dev.stamp ## put the farm through long runs of faults (N=1000), write docs/RELIABILITY.md
	@$(BIN)/python -m tests.resilience.long --kills $(N) --others $(ARGS)

docs: $(VENV)/dev.stamp ## write docs/commands.md from the commands
	@$(BIN)/python -m farm.cli.reference > docs/commands.md

clean: ## remove .venv and everything built; the farm's own state stays
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says what .venv holds; it is older than pyproject.toml when that has changed.

$(VENV)/python.stamp:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and was not found: install it, or make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	@can() { $(PYTHON) -c 'import ensurepip' 2>/dev/null; }; \
	can || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null \
		|| { echo "installing python3-venv, which Debian ships apart"; apt-get install -y -qq python3-venv >/dev/null || true; }; \
	if can; then $(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -m virtualenv --version >/dev/null 2>&1; then $(PYTHON) -m virtualenv --quiet $(VENV); \
	else echo "$(PYTHON) lacks ensurepip: install it (Debian, Ubuntu: apt install python3-venv), then try again" >&2; exit 1; fi
	@echo '$(CURDIR)' > $@

$(VENV)/documents.stamp: pyproject.toml $(VENV)/python.stamp
	@echo "installing the farm and its document readers"
	@$(PIP) install --editable '.[$(EXTRAS)]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(VENV)/documents.stamp
	@echo "installing what the tests need, and what the farm is compared with"
	@$(PIP) install --editable '.[$(EXTRAS),dev,loadtest]'
	@touch $@
