# What this repository can do. Targets only install packages and call dvc, skyseg or the checkers.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
READY := .venv/.ready
APP_READY := .venv/.ready-app
DEV_READY := .venv/.ready-dev
export PATH := $(CURDIR)/.venv/bin:$(PATH)

##@ The pipeline

.PHONY: repro
repro: setup data ## Data -> trained, evaluated, registered model (PROFILE=photographs sets params.yaml)
	$(if $(PROFILE),python -m skyseg profile "$(PROFILE)")
	dvc repro

.PHONY: promote
promote: setup ## Make this workspace's model the champion (DRY_RUN=1 REGISTRY=uri FORCE="reason")
	python -m skyseg promote $(if $(DRY_RUN),--dry-run) $(if $(REGISTRY),--registry "$(REGISTRY)") $(if $(findstring command,$(origin FORCE)),--force "$(FORCE)")

.PHONY: rollback
rollback: setup ## Make an earlier champion the champion again (TO=version REGISTRY=uri)
	python -m skyseg rollback $(if $(TO),--to "$(TO)") $(if $(REGISTRY),--registry "$(REGISTRY)")

##@ Using and looking

.PHONY: app
app: $(APP_READY) data ## Serve the web page (PORT=7860, this machine only)
	python -m skyseg app $(if $(PORT),--port "$(PORT)")

.PHONY: api
api: $(APP_READY) data ## Serve a model over HTTP, photographs as forms (MODEL=uri PORT=8000, this machine only)
	python -m skyseg api $(if $(MODEL),"$(MODEL)") $(if $(PORT),--port "$(PORT)")

.PHONY: serve
serve: setup ## Serve the champion by MLflow's server, in JSON (MODEL=uri PORT=5002, this machine only)
	python -m skyseg serve $(if $(MODEL),"$(MODEL)") $(if $(PORT),--port "$(PORT)")

.PHONY: ui
ui: setup ## Serve runs and models in the MLflow UI (PORT=5000, this machine only)
	python -m skyseg ui $(if $(PORT),--port "$(PORT)")

.PHONY: models
models: setup ## List the registered versions with aliases and scores
	python -m skyseg models

.PHONY: history
history: setup ## List the champions: when, who, which version replaced which, and why
	python -m skyseg history

.PHONY: lineage
lineage: setup ## Show where a version comes from (VERSION=3; REBUILD=1 prints how to train it again)
	python -m skyseg lineage $(VERSION) $(if $(REBUILD),--rebuild)

.PHONY: sync
sync: setup ## Send to MLflow what it lacks of trainings during which it did not answer
	python -m skyseg sync

.PHONY: doctor
doctor: setup ## Check this computer and this repository, and say what to do (FIX=1 mends moved paths)
	python -m skyseg doctor $(if $(FIX),--fix)

.PHONY: plots
plots: setup ## Draw the curves and overlays of the last run into dvc_plots/index.html
	dvc plots show --out dvc_plots

##@ Developing

.PHONY: test
test: dev lint ## Lint, types, import contracts, the tests that take seconds, coverage
	pytest -m "not slow" --numprocesses auto --dist loadfile --cov --cov-report term

.PHONY: test-all
test-all: test ## The same, then whole pipelines, real servers and a browser
	pytest -m slow --numprocesses auto --dist loadfile

.PHONY: lint
lint: dev ## Formatting, lint, types and import contracts alone
	ruff format --check
	ruff check
	mypy
	lint-imports

.PHONY: audit-deps
audit-deps: setup ## Look up known vulnerabilities of the pinned packages (.ci/accepted.toml)
	@python .ci/audit.py

.PHONY: format
format: dev ## Format the code and apply automatic fixes
	ruff check --fix --exit-zero
	ruff format

.PHONY: bench
bench: dev data ## Speed compared with other tools, into reports/bench/ (ONLY="step loader")
	python -m benchmarks $(ONLY)

.PHONY: bench-gpu
bench-gpu: ## Tests, speed and a short training on this machine's GPU, in nine minutes (reports/bench/gpu)
	$(PYTHON) -m benchmarks.gpu

.PHONY: wheels
wheels: dev ## Fill wheels/ with what a GPU machine without a package index lacks (for bench-gpu)
	@python -c 'from benchmarks.gpu import lacking; print(*lacking(), sep="\n")' > wheels.txt
	python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
		--platform manylinux_2_17_x86_64 --requirement wheels.txt --dest wheels; rm wheels.txt
	@du -sh wheels

.PHONY: lock
lock: dev ## Pin the newest versions that pyproject.toml allows
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--no-header --no-annotate --quiet --upgrade --output-file requirements-dev.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --constraint requirements-dev.txt \
		--no-header --no-annotate --quiet --upgrade --output-file requirements.txt

##@ Setting up

.PHONY: setup
setup: $(READY) ## Build .venv with what the pipeline needs; other targets do it first

.PHONY: dev
dev: $(DEV_READY) ## The same, with what the tests and benchmarks need

.PHONY: data
data: setup ## Get data and pretrained weights from their remote, unless they are here
	@for target in data models/start.safetensors; do \
		test -e $$target || dvc pull $$target || { rm -rf $$target; exit 1; }; done

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11: name another with PYTHON=..."; exit 1; }
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	python -m pip install --quiet --disable-pip-version-check uv
	uv pip install --quiet --python .venv --no-deps --requirement requirements.txt
	uv pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
	@touch $@

$(APP_READY): $(READY) requirements-dev.txt
	uv pip install --quiet --python .venv --no-build-isolation --constraint requirements-dev.txt \
		--editable '.[api,app,heic,onnx,video]'
	@touch $@

$(DEV_READY): $(READY) requirements-dev.txt
	uv pip install --quiet --python .venv --no-deps --requirement requirements-dev.txt
	@touch $@

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
