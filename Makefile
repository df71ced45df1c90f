# make alone explains the targets.
PYTHON ?= python3
BIN := .venv/bin
DOCKER ?= docker
DEVICE ?= cpu
# uv does not read pip's configuration: hand a configured index on.
INDEX := $(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null)
export UV_DEFAULT_INDEX ?= $(INDEX)
ifeq ($(UV_DEFAULT_INDEX),)
unexport UV_DEFAULT_INDEX
endif

.DEFAULT_GOAL := help
.PHONY: help setup models run serve server test check bench image lock clean

help: ## this list
	@echo "runpod-speech: a complete speech API as a Runpod Serverless worker"; echo
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12 | sed 's/^/  make /'

.venv/ready: requirements/dev.txt Makefile
	@echo "==> setup: a virtual environment in .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Python 3.11 or newer is needed: make setup PYTHON=python3.11"; rm -rf .venv; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check "uv==$$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements/dev.txt)"
	@echo "==> setup: installing pinned requirements"
	@$(BIN)/uv pip sync --require-hashes --python $(BIN)/python requirements/dev.txt
	@touch $@

setup: .venv/ready ## install everything into .venv (idempotent)

models: setup ## download the default models (Whisper base, Kokoro, Piper joe): 320 MB, once
	@$(BIN)/python -m speech_server models pull --default --quiet-if-installed

run: models ## one job, end to end, on real models (test_input.json; INPUT=examples/jobs/x.json for another)
	@$(BIN)/python handler.py --test_input "$$(cat $(or $(INPUT),test_input.json))"

serve: models ## Runpod on this machine: control plane and worker, http://127.0.0.1:8010/v2/local
	@$(BIN)/python -m local_runpod -- $(BIN)/python -u handler.py

server: models ## the speech server alone, http://127.0.0.1:8000/docs
	@$(BIN)/python -m speech_server

test: models ## all tests
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

check: setup ## ruff, strict types, import rules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: models ## benchmarks against references in the same run (ONLY=stt for one)
	@$(BIN)/python -m benchmarks $(ONLY)

image: models ## build the CPU image and try it: no network, no root, real signals (DEVICE=gpu, DOCKER=podman)
	@$(or $(IMAGE_BUILD),$(DOCKER) build -t runpod-speech:$(DEVICE) --build-arg DEVICE=$(DEVICE)) .
	@DOCKER=$(DOCKER) $(BIN)/python image/check $(or $(IMAGE),runpod-speech:$(DEVICE))

lock: setup ## compile requirements/*.in to pinned files with hashes
	@for f in worker server gpu cjk dev; do $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header requirements/$$f.in -o requirements/$$f.txt || exit 1; done

clean: ## remove the environment and caches (models stay)
	rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache .hypothesis build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
