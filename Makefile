# Every command a person or a machine types in this repository. `make` alone lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-slow test-faults check docs-settings fuzz load bench-serve bench-search bench-store bench-kernels bench-tables evaluate eval-tables audit sbom clean

BIN := .venv/bin
INSTALLED := .venv/.installed
TOOLS := .venv-tools

# The first of these that runs and is Python 3.11 or 3.12. `make setup PYTHON=...` names another.
PYTHON ?= $(firstword $(foreach name,python3 python3.11 python3.12,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $(name))))

# Test processes share the cores: torch's threads would spin against each other, so each process gets one, waiting passively.
# Stealing keeps a file's tests together, whose services are then started once.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal --durations=40

help: ## List the commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(INSTALLED) ## Make .venv with the locked versions (the others do this by themselves)

$(INSTALLED): pyproject.toml requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null || { \
		echo "Python 3.11 or 3.12 is needed; $(if $(PYTHON),$(PYTHON) is not,neither python3 nor python3.11 nor python3.12 is)." \
			"Install it, or name one: make setup PYTHON=/where/it/is/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install -r requirements.lock
	$(BIN)/python -m pip install --no-deps -e .
	@touch $@

demo: setup ## Personalise two users from start to end and show what came of it
	$(BIN)/milp demo

up: setup ## Start the whole service on this machine and keep it running
	$(BIN)/milp up

test: setup ## Run all tests but the slow ones
	$(PYTEST) -m "not slow and not faults"

test-slow: setup ## Run the tests that take minutes each
	$(PYTEST) -m slow

test-faults: setup ## Hurt a running service at random moments and count what is lost (QUICK=1; FAULTS_SEED=n: as that time)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tests.faults

check: setup ## Check format, lint, types, import rules and paths
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/machine_paths.py

audit: $(TOOLS)/.installed ## Look for known vulnerabilities of the locked packages, where their database can be reached
	$(TOOLS)/bin/python scripts/audit.py

sbom: setup $(TOOLS)/.installed ## List all that is installed in sbom.cdx.json (CycloneDX)
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json .venv

$(TOOLS)/.installed: requirements-tools.lock
	"$(PYTHON)" -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --no-deps -r requirements-tools.lock
	@touch $@
fuzz: setup ## Try bad input of all kinds, FUZZ (10) times as much as `make test` does
	FUZZ=$(or $(FUZZ),10) $(PYTEST) tests/app/test_bad_requests.py tests/app/importers/test_mutations.py \
		tests/app/repositories/test_any_order.py tests/adapters_store/test_any_order.py \
		tests/adapters_store/test_mutations.py tests/engine/test_nasty_texts.py

load: setup ## A thousand users for ten minutes, then ten thousand queued jobs (QUICK=1: two minutes)
	$(BIN)/python -m benchmarks.load

docs-settings: setup ## Write the README's table of settings anew
	$(BIN)/python scripts/settings_table.py

bench-serve: setup ## Measure answering against PEFT and transformers (QUICK=1: the part that matters)
	$(BIN)/python -m benchmarks.serve

bench-search: setup ## Measure training and a whole search against PEFT (QUICK=1; DATA=file USER=id: another history)
	$(BIN)/python -m benchmarks.search

bench-store: setup ## Measure the adapter store from 0 to 100,000 versions (QUICK=1: 5,000)
	$(BIN)/python -m benchmarks.store

bench-kernels: setup ## Measure the engine's own pieces for a CPU against torch's
	$(BIN)/python -m benchmarks.kernels

bench-tables: setup ## Write the benchmarks' tables into the READMEs anew
	$(BIN)/python -m benchmarks.tables

evaluate: setup ## Measure what personalising buys, and report (DATA="file ..": other histories, WROTE=responses: of those who answer; EXCLUDE="user ..": but these; FULL=1: everything; OUT=folder)
	$(BIN)/milp evaluate $(foreach file,$(DATA),--data $(file)) $(if $(WROTE),--wrote $(WROTE)) $(foreach user,$(EXCLUDE),--exclude $(user)) $(if $(FULL),--full) $(if $(OUT),--out $(OUT))

eval-tables: setup ## Write the evaluation's tables into the READMEs anew
	$(BIN)/python -m evaluation.tables

clean: ## Remove what make made: environments, caches, builds (never .milp, which holds histories)
	rm -rf .venv $(TOOLS) sbom.cdx.json .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
