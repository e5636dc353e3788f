# Thalweg: `make help` lists what there is. Needs Python 3.11+, make and the package registries; installs nothing globally.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The page's tests drive a real browser, which no package registry has; .ci/run installs one and so never leaves them out.
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench bench-quick lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11)) ' || { echo "Thalweg needs Python 3.11 or newer; PYTHON=/path/to/python3.11 make … names another one"; exit 1; }
	@echo "Setting up $(VENV): pinned dependencies, checked by hash (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(VENV)/.ready ## the virtual environment with locked dependencies

demo: setup ## one event's whole way, on 336,776 real flights: under two minutes
	@$(BIN)/python examples/demo.py

test: setup ## the whole suite, against a real broker, registry and files
	@$(BIN)/pytest -q -m "not slow" --numprocesses auto
	@test -n "$(BROWSER)" || echo "No Chromium here: leaving out tests/browser (apt-get install chromium)"
	@$(BIN)/pytest -v -m slow --numprocesses 2 --dist worksteal $(if $(BROWSER),,--ignore tests/browser) -o console_output_style=count --durations=10 --durations-min=5

check: setup ## format, types, lint, layers and the fast tests: under a minute
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -q -m "not slow" --numprocesses auto

bench: setup ## every benchmark beside its peers, Spark among them: some 50 minutes, on a machine that does nothing else
	@$(BIN)/python -m benchmarks.throughput --spark
	@$(BIN)/python -m benchmarks.cases
	@$(BIN)/python -m benchmarks.latency
	@$(BIN)/python -m benchmarks.scaling
	@$(BIN)/python -m benchmarks.sources
	@$(BIN)/python -m benchmarks.stages
	@$(BIN)/python -m benchmarks.picture

bench-quick: setup ## Thalweg beside plain Python and a loop that only consumes: under three minutes
	@$(BIN)/python -m benchmarks.throughput --records 500000

lock: setup ## resolve the dependencies anew and write their hashes
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --all-extras --group dev --custom-compile-command 'make lock' pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --extra postgres --extra flights --constraint requirements.lock --custom-compile-command 'make lock' \
	  pyproject.toml deploy/docker/build.in -o deploy/docker/requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make lock' benchmarks/peers/spark-requirements.in -o benchmarks/peers/spark-requirements.lock

clean: ## stop the local stack and remove what it keeps
	@test ! -x $(BIN)/thalweg || $(BIN)/thalweg stack down --wipe
