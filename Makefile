# Everything that one does with this repository. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
IMAGE ?= jobfetcher
PYTEST_ARGS ?=
MINUTES ?= 2
SEED ?=
# Tests wait more than they compute: one more process than there are cores.
WORKERS ?= $(shell echo $$(( $$(nproc) + 1 )))

.PHONY: help venv machine demo test soak bench bench-smoke lint docs image lock

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 13

venv: .venv/.stamp ## Make .venv: the locked packages and the project, editable

.venv/.stamp: requirements.lock pyproject.toml .ci/venv.sh
	@.ci/venv.sh
	@touch $@

machine: # the programs that tests call, and an engine that answers
	@.ci/packages.sh
	@.ci/engine.sh

demo: venv ## Watch the worker do jobs against the mock API
	@.ci/engine.sh || true
	@image=$$(.ci/demo-image.sh); .venv/bin/jobfetcher demo $${image:+--image $$image}

test: venv machine ## Run all tests (PYTEST_ARGS="-k name" for some)
	@.ci/base-image.sh
	@$(PYTHON) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

soak: venv ## Kill a worker at random for MINUTES=2 (SEED=n replays a run)
	@.ci/packages.sh
	@.ci/engine.sh || true
	@$(PYTHON) -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

bench: venv machine ## Measure the worker beside what the machine itself costs, at real sizes
	@$(PYTHON) -m bench

bench-smoke: venv machine ## The same once, small: shows that it still works
	@$(PYTHON) -m bench --quick --results /dev/null

lint: venv ## Check style, formatting, types and the layers' imports
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m ruff format --quiet --check .
	@$(PYTHON) -m mypy --no-error-summary
	@.venv/bin/lint-imports

docs: venv ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet --strict
	@echo 'Built site/index.html.'

image: ## Build the worker's image (IMAGE=name to name it)
	@.ci/engine.sh
	@.ci/base-image.sh
	@docker build -q -t $(IMAGE) --build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' jobfetcher/_version.py) \
		--build-arg REVISION=$$(git describe --always --dirty 2>/dev/null || echo unknown) . >/dev/null
	@docker image inspect -f '{{.Size}}' $(IMAGE) | awk '{printf "Built $(IMAGE): %.0f MB.\n", $$1 / 1e6}'

lock: ## Renew both lock files from pyproject.toml (needs uv)
	@uv pip compile -q --python-version 3.11 --no-emit-index-url --no-emit-find-links --generate-hashes --extra dev --no-header -o requirements.lock pyproject.toml
	@uv pip compile -q --python-version 3.11 --no-emit-index-url --no-emit-find-links --generate-hashes -c requirements.lock --no-header -o requirements-run.lock pyproject.toml
