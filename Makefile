# Two commands: `make demo` shows the main job, `make test` runs everything that CI runs. Both call `make setup`.

SHELL := /bin/bash
PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input

.DEFAULT_GOAL := help
.PHONY: help setup wheel demo test test-bluez test-radio check lint types imports defences bench fuzz soak mutate lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Build .venv from the lock files (does nothing when it is up to date)

# The simulator and the tools are installed too: a .venv is for trying and developing; a home gets requirements/run.txt.
$(READY): requirements/dev.txt requirements/fuzz.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; name another one with: make $(MAKECMDGOALS) PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing; install two Debian packages: apt install make python3-venv"; exit 1; }
	@echo "building $(VENV) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --only-binary=:all: --no-deps --requirement requirements/dev.txt
	@if [ "$$(uname -m)" = x86_64 ]; then \
		$(PIP) install --require-hashes --only-binary=:all: --no-deps --requirement requirements/fuzz.txt; fi
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) check
	@touch $@

wheel: setup ## dist/carelock_gateway-….whl, what a home installs
	@rm -rf build
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

demo: setup ## One command opens a simulated door: the whole path with real processes (DEMO_ARGS=--json, --stay)
	@$(BIN)/python -m simulator demo $(DEMO_ARGS)

# The checks come first and pytest last whatever they said, so that one run shows every problem and ends with its summary.
test: setup ## Everything that CI runs: the checks below, then all tests with coverage and its bars
	@.ci/packages
	@status=0; \
	$(MAKE) --no-print-directory --keep-going check || status=1; \
	rm -f .coverage .coverage.*; \
	$(BIN)/python -m pytest -p tests.support.coverage_bars --cov --cov-report= $(TEST_ARGS) || status=1; \
	exit $$status

check: lint types imports ## Formatting, lint, types, import directions

lint: setup ## ruff: format and rules
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .

types: setup ## mypy, strict
	@$(BIN)/mypy --no-error-summary

imports: setup ## Who may import whom
	@$(BIN)/lint-imports --no-cache | tail -n 30; exit $${PIPESTATUS[0]}

defences: setup ## Take each defence out of a copy and see its test fail (ROWS="S1 M3", or a class: ROWS=S)
	@$(BIN)/python -m tests.support.defend $(ROWS)

bench: setup ## The table of floors, figures and ratios (CHECK=1 exits 1 on a miss)
	@$(BIN)/python -m benchmarks $(if $(CHECK),--check) $(BENCH_ARGS)

test-bluez: setup ## The real kernel, systemd and BlueZ in an emulated machine (part of `make test`)
	@.ci/packages
	@$(BIN)/python -m pytest --no-cov tests/bluez $(TEST_ARGS)

fuzz: setup ## Look for bytes that break the contract, a minute for each way in (FUZZ_ARGS="--seconds 600 --keep")
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

test-radio: setup ## A lock and a gateway on two real adapters: ADAPTER=hci0 PERIPHERAL=usb:0
	@ADAPTER=$(ADAPTER) PERIPHERAL=$(PERIPHERAL) $(BIN)/python -m pytest --no-cov tests/radio $(TEST_ARGS)

soak: setup ## The tests that take minutes to hours
	@$(BIN)/python -m pytest -m soak --timeout=0 $(TEST_ARGS)

mutate: setup ## Change what decides who may open, one thing at a time: does a test notice? (20 min; MUTATE_ARGS="--only rows")
	@$(BIN)/python -m tests.mutation $(MUTATE_ARGS)

# Resolved for one architecture and compared with the other: a dependency without wheels for both never gets in.
# The files name no registry: where packages come from is the business of whoever installs.
lock: ## Resolve requirements/*.txt anew from pyproject.toml (needs uv; UPGRADE=--upgrade takes newer releases)
	@command -v $(UV) >/dev/null || { echo "uv is needed to resolve; see CONTRIBUTING.md"; exit 1; }
	@set -e; scratch=$$(mktemp -d); trap 'rm -r "$$scratch"' EXIT; \
	resolve() { $(UV) pip compile pyproject.toml --quiet $(UPGRADE) --python-version 3.11 --only-binary :all: \
		--generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$$@"; }; \
	both() { name=$$1; shift; \
		resolve "$$@" --python-platform x86_64-manylinux_2_28 --output-file requirements/$$name.txt; \
		cp requirements/$$name.txt $$scratch/$$name.txt; \
		resolve "$$@" --python-platform aarch64-manylinux_2_28 --output-file $$scratch/$$name.txt; \
		cmp requirements/$$name.txt $$scratch/$$name.txt; }; \
	both run; \
	both simulator --extra simulator --constraint requirements/run.txt; \
	both dev --extra simulator --extra dev --constraint requirements/simulator.txt; \
	resolve --extra fuzz --constraint requirements/dev.txt --python-platform x86_64-manylinux_2_28 \
		--output-file requirements/fuzz.txt

clean: ## Remove what the targets above made
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info build dist mutants
