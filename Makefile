# Everything a developer or CI types. `make demo` and `make test` set up what they need themselves.
# The distribution's Python before another one in PATH: docs/decisions/0006-which-python.md
FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach one,/usr/bin/python3 python3,$(shell $(one) -c '$(FITS)' 2>/dev/null && echo $(one))))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test fuzz lint format lock bench accept-main accept-gateway accept-cluster accept-auth accept-classifier capacity chaos soak clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(or $(PYTHON),python3) -c '$(FITS)' || { \
	  echo "Tamis needs Python 3.11 or newer with venv: apt install python3 python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Real messages through milter socket, gRPC and Ray; prints the verdict table and one trace.
demo: setup
	$(BIN)/python -m bench.demo

# Everything quick: at most 15 minutes.
test: setup lint
	tests/services/install
	$(BIN)/pytest -n 2 --dist loadfile

# The milter codec under a fuzzer, from the dialogs on; what it finds is kept in .fuzz/.
FUZZ_SECONDS ?= 60
fuzz: setup
	$(BIN)/python -m tests.fuzz.codec $(FUZZ_SECONDS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	proto/generate --check
	$(BIN)/python docs/generate_configuration.py --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The main job with the real components: one line `ok|short NAME figure bound command` for every number.
accept-main: setup
	tests/services/install
	$(BIN)/python -m tests.acceptance.main

# The gateway's numbers and bad input with the real components, at most 12 minutes.
accept-gateway: setup
	tests/services/install
	$(BIN)/python -m tests.acceptance.gateway

# The cluster's numbers and bad input with the real components, peers side by side, at most 12 minutes.
accept-cluster: setup
	tests/services/install peers
	$(BIN)/python -m tests.acceptance.cluster

# The numbers and the bad input of authentication, at most 12 minutes.
accept-auth: setup
	tests/services/install
	$(BIN)/python -m tests.acceptance.auth

# The numbers and the bad input of the spam classifier, bogofilter beside it, at most 12 minutes.
accept-classifier: setup
	tests/services/install peers
	$(BIN)/python -m tests.acceptance.classifier

# A cell under 70 % of its load, broken in every way of docs/failures.md, at most 15 minutes; in `make test` a short form.
chaos: setup
	tests/services/install
	$(BIN)/python -m tests.chaos

# What a cell can do: measure, fit the model, predict; writes bench/simulation/fit.json and docs/capacity.md. 8 minutes.
capacity: setup
	$(BIN)/python -m bench.simulation refit

# A million short sessions through one gateway, at most 20 minutes; the figures go to bench/soak.json.
soak: setup
	$(BIN)/python -m bench.soak --write bench/soak.json

# Figures for bench/RESULTS.md.
bench: setup
	$(BIN)/python -m bench.run

# New versions for requirements.lock, with hashes for every platform.
lock: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev --upgrade \
	  pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .test-data
