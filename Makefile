# Everything a person types; `make` lists it. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
UV_VERSION := 0.13.8
VENV := .venv
PY := $(VENV)/bin/python

# pip trusts the certificates of the system and reads the index address from its own configuration;
# uv does neither unless told.
export UV_SYSTEM_CERTS ?= true
UV := UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$($(PY) -m pip config list \
	| sed -n "s/^[a-z:]*\.index-url='\(.*\)'$$/\1/p" | head -n 1)}" $(VENV)/bin/uv

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

setup: $(VENV)/.stamp ## make .venv with the pinned packages and the command lrustream

demo: setup ## replay a real stream through the engine, then recommend to two users
	$(PY) cli.py replay movietweetings --data data/movietweetings --show-users 2

test: setup ## run every test
	$(PY) -m pytest

check: setup ## lint, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup ## rewrite the code as ruff wants it
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: $(VENV)/bin/uv ## pin the newest versions that pyproject.toml allows
	@$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
		--no-annotate --no-emit-index-url --custom-compile-command 'make lock' --quiet -o requirements.txt

clean: ## remove the environment, caches and build leftovers
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp: requirements.txt pyproject.toml | $(VENV)/bin/uv
	@$(UV) pip install --python $(PY) --compile-bytecode -r requirements.txt
	@$(UV) pip install --python $(PY) --no-deps -e .
	@touch $@

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, %s is %d.%d: name another one, as in make setup PYTHON=python3.12" % (sys.executable, *sys.version_info[:2]))'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

-include deploy/kafka/kafka.mk
