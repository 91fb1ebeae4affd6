# Everything runs in .venv, which the first target that needs it makes: nothing has to be activated.

VENV ?= .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# Where to look for a Python for .venv; `make setup PYTHON=/some/python3` to name one.
PYTHON ?= python3 python3.13 python3.12 python3.11

# Two processes with a thread each finish the suite sooner than one process with two threads, whose
# operations are too small to share.
WORKERS ?= auto
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal
# The doctests are tests.
TESTED := --doctest-modules src/diffeo tests

BENCHMARKS := $(sort $(wildcard benchmarks/[a-z]*.py))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-all lint format bench wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.installed ## Make .venv and install diffeo into it (once; again when its requirements change)
	@echo "$(VENV) is ready"

demo: $(VENV)/.installed-app ## Train a flow on the digits that scikit-learn ships: samples, scores, pictures
	$(BIN)/diffeo demo

test: $(VENV)/.installed ## Run the tests: every class at least once (5 minutes on 2 cores)
	$(PYTEST) $(ARGS) $(TESTED)

test-all: $(VENV)/.installed ## Run the whole matrix of tests, with an installation from PyPI in it
	DIFFEO_FULL=1 $(PYTEST) -m "" $(ARGS) $(TESTED)

lint: $(VENV)/.installed ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(PY)

format: $(VENV)/.installed ## Format the code, and fix what ruff can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench ## Run the benchmarks (ARGS=--write keeps their results)
	@set -e; for script in $(BENCHMARKS); do \
		echo "== $$script"; \
		$(PY) -m "benchmarks.$$(basename "$$script" .py)" $(ARGS); \
	done

wheel: $(VENV)/.installed ## Build the sdist, and the wheel from it, in dist/
	$(PY) -m build --no-isolation --outdir dist

clean: ## Remove what was built, and caches (not .venv)
	rm -rf build dist examples/out .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

PIP_INSTALL = $(PY) -m pip install --no-input --disable-pip-version-check -c constraints.txt

define MAKE_VENV
	@if ! $(PY) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		for candidate in $(PYTHON); do \
			if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
				>/dev/null 2>&1; then found=$$candidate; break; fi; \
		done; \
		if [ -z "$${found:-}" ]; then \
			echo "make: diffeo needs Python 3.11 or newer, with venv; looked for: $(PYTHON)." >&2; \
			echo "Install one (Debian, Ubuntu: apt install python3-venv), or name one:" \
				"make setup PYTHON=/path/to/python3" >&2; \
			exit 1; \
		fi; \
		echo "Making $(VENV) with $$("$$found" --version)"; \
		"$$found" -m venv --clear $(VENV); \
	fi
endef

# What the command line needs is all that the demo needs.
$(VENV)/.installed-app: pyproject.toml constraints.txt
	$(MAKE_VENV)
	$(PIP_INSTALL) -e ".[app]"
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt
	$(MAKE_VENV)
	$(PIP_INSTALL) -e ".[app,audio,dev]"
	@touch $(VENV)/.installed-app $@

# The other libraries that benchmarks compare with, wanted by nobody else.
$(VENV)/.installed-bench: $(VENV)/.installed
	$(PIP_INSTALL) -e ".[all,bench,dev]"
	@touch $@
