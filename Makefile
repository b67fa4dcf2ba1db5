# Everything a person or CI does with this repository. Needs Python 3.11 or later and make;
# test-real and test-deploy also need Go.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check install

.DEFAULT_GOAL := help
.PHONY: help demo install test test-sinks test-faults test-real test-deploy test-image transcript check format docs
.PHONY: compiled compiled-clean bench bench-record budget counted fuzz soak lock clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/developer ## Start an issuer, an API server and the proxy here, and tour them
	@KUBEBUILDER_ASSETS="$$(tests/build --print kube)" $(BIN)/headlamp-auth-proxy demo

install: $(VENV)/installed ## Make .venv/bin/headlamp-auth-proxy

test: $(VENV)/developer ## Run the tests that need nothing but Python
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore=tests/real --ignore=tests/deploy

test-sinks: ## Run the same with every sink on, all searched for secrets; as the targets below do
	$(MAKE) test
test-sinks test-faults test-real test-deploy: export TEST_EVERY_SINK = 1

test-faults: $(VENV)/developer ## Run the slow tests of faults, which make test leaves out
	$(BIN)/python -m pytest -m slow tests/faults

test-real: $(VENV)/developer ## Build the real programs once, and run the tests that use them
	tests/build >/dev/null
	tests/real/install-chromium
	TEST_REQUIRE_REAL=1 $(BIN)/python -m pytest -m "" tests/real

test-deploy: $(VENV)/developer ## Test what is deployed: helm 3 and 4, Prometheus, a real API server
	tests/build kube >/dev/null
	tests/deploy/install-tools
	TEST_REQUIRE_REAL=1 $(BIN)/python -m pytest tests/deploy

test-image: $(VENV)/developer ## Build the image and test it (needs podman, and mmdebstrap or PYTHON_IMAGE and BUILD_IMAGE)
	image=$$(tests/image/build) && \
	TEST_IMAGE="$$image" $(BIN)/python -m pytest tests/image

transcript: $(VENV)/developer ## Show what alice and bob see, on a real API server
	@tests/build kube >/dev/null
	@$(BIN)/python -m tests.real.transcript

check: $(VENV)/developer ## Check format, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m docs.generate --check

format: $(VENV)/developer ## Format the code and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/developer ## Write the documentation's tables from the code
	$(BIN)/python -m docs.generate

compiled: $(VENV)/developer ## Compile what the image has compiled, in place (needs a C compiler)
	$(BIN)/python hatch_build.py in-place

compiled-clean: ## Run what is read again
	rm -f $$(find proxy -name '*.so')

bench bench-record: $(VENV)/bench compiled # which is what the image has
bench: ## Measure beside nginx, Envoy and others (needs nginx and wrk)
	$(BIN)/python -m bench $(BENCH)

bench-record: ## Measure everything, and write it into docs/performance.md
	$(BIN)/python -m bench
	cp bench/results/last.json docs/performance.json
	$(BIN)/python -m docs.generate

budget: ## Does a request cost more than bench/budget.json? (BUDGET=renew; PYTHON=python3.13)
	@$(MAKE) --no-print-directory VENV=$(BUDGET_VENV) counted
counted: $(VENV)/developer compiled-clean # there are no bytecodes of what is compiled
	$(BIN)/python -m bench.budget $(BUDGET)
# Counts are those of one release, so another Python than the usual one has a .venv of its own.
BUDGET_VENV = $(if $(filter file,$(origin PYTHON)),$(VENV),.venv-$(RELEASE))
RELEASE = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

fuzz: $(VENV)/fuzzer compiled-clean ## Fuzz every parser, FUZZ_SECONDS in all (60)
	$(BIN)/python -m tests.fuzz.run $(FUZZ_SECONDS)
FUZZ_SECONDS ?= 60

soak: $(VENV)/developer ## Mixed traffic for SOAK_MINUTES (60): are memory and descriptors flat?
	$(BIN)/python -m bench.soak

lock: $(VENV)/developer ## Renew requirements/*.lock from pyproject.toml
	$(BIN)/uv pip compile $(LOCK) --extra tracing --group dev -o requirements/dev.lock pyproject.toml
	$(BIN)/uv pip compile $(LOCK) --group build -c requirements/dev.lock -o requirements/build.lock
	$(BIN)/uv pip compile $(LOCK) --group compile -c requirements/dev.lock -o requirements/compile.lock
	$(BIN)/uv pip compile $(LOCK) --extra tracing -c requirements/dev.lock -o requirements/run.lock pyproject.toml
	$(BIN)/uv pip compile $(LOCK) --group fuzz -c requirements/dev.lock -o requirements/fuzz.lock
	$(BIN)/uv pip compile $(LOCK) --group bench -c requirements/dev.lock -o requirements/bench.lock
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"

clean: compiled-clean ## Remove everything that was made here
	rm -rf .venv .venv-* .fuzz dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; set PYTHON=python3.x" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python requirements/run.lock requirements/build.lock pyproject.toml
	$(PIP) --require-hashes -r requirements/run.lock -r requirements/build.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/developer: $(VENV)/installed requirements/dev.lock
	$(PIP) --require-hashes -r requirements/dev.lock
	@touch $@

$(VENV)/fuzzer: $(VENV)/developer requirements/fuzz.lock
	$(PIP) --require-hashes -r requirements/fuzz.lock
	@touch $@

$(VENV)/bench: $(VENV)/developer requirements/bench.lock
	$(PIP) --require-hashes -r requirements/bench.lock
	@touch $@
