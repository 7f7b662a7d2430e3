# What this repository can do. Every target only calls dvc, python -m skyseg, or the checkers.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
READY := .venv/.ready
export PATH := $(CURDIR)/.venv/bin:$(PATH)

##@ The pipeline

.PHONY: repro
repro: setup data ## Data -> trained, evaluated, registered model (prepare, train, evaluate)
	dvc repro

.PHONY: promote
promote: setup ## Make this workspace's model the champion (REGISTRY=uri FORCE="reason")
	python -m skyseg promote $(if $(REGISTRY),--registry "$(REGISTRY)") $(if $(findstring command,$(origin FORCE)),--force "$(FORCE)")

.PHONY: rollback
rollback: setup ## Undo the last promotion
	python -m skyseg rollback $(if $(REGISTRY),--registry "$(REGISTRY)")

##@ Looking

.PHONY: ui
ui: setup ## Open runs and models in the MLflow UI (PORT=5000, this machine only)
	python -m skyseg ui $(if $(PORT),--port "$(PORT)")

.PHONY: models
models: setup ## List the registered versions with aliases and scores
	python -m skyseg models

.PHONY: plots
plots: setup ## Draw the curves and overlays of the last run into dvc_plots/index.html
	dvc plots show --out dvc_plots

##@ Developing

.PHONY: test
test: setup lint ## Lint, types, import contracts, all tests
	pytest

.PHONY: bench
bench: setup data ## Speed beside what others use, into reports/bench/ (ONLY="step loader")
	python -m benchmarks $(ONLY)

.PHONY: lint
lint: setup ## Lint, types and import contracts alone
	ruff check
	mypy
	lint-imports

.PHONY: lock
lock: setup ## Pin the newest versions that pyproject.toml allows in requirements.txt
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--no-header --no-annotate --quiet --upgrade --output-file requirements.txt

##@ Setting up

.PHONY: setup
setup: $(READY) ## Build .venv; every other target does it first

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11: name another with PYTHON=..."; exit 1; }
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	python -m pip install --quiet --disable-pip-version-check uv
	uv pip install --quiet --python .venv --requirement requirements.txt
	uv pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: data
data: setup ## Get data and starting weights from their remote, unless they are here
	@for target in data models/start.safetensors; do \
		test -e $$target || dvc pull $$target || { rm -rf $$target; exit 1; }; done

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
