# Each target calls one verb of the command vmafarm.
#   CONFIG=file.toml       the configuration
#   CLIPS=dir SCORES=file  the corpus
#   SLICE=12               a slice, for logs
#   N=1000 WRITERS=200     kills and runs with two writers, for crash; SEED=1, CASE=... repeat
#   N=2000                 files, for fuzz-containers; SEED=1, CASE=... repeat
#   Q="SELECT ..."         a query, for sql
#   ARGS="..."             passed on to the verb
#   PYTHON=python3.12      the interpreter of the virtual environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export CONFIG CLIPS SCORES SLICE CASE Q

# Values reach the verbs through the environment: names may hold spaces and quotes.
OPTIONS = $(if $(CONFIG),--config "$$CONFIG")
CORPUS = $(if $(CLIPS),--clips "$$CLIPS") $(if $(SCORES),--scores "$$SCORES")
PYTEST = $(BIN)/python -m pytest

.PHONY: help setup run plan estimate doctor image submit retry status logs cancel merge qa report sql config demo test fuzz fuzz-containers test-full crash bench test-cluster coverage lint types docs screenshots lock lowest clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-15s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.setup ## virtual environment .venv with the locked dependencies

$(VENV)/.setup: requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), Python 3.11 or newer is needed"; \
	    echo "  choose another one: make PYTHON=python3.12 ..."; exit 3; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "error: $(PYTHON) cannot make a virtual environment"; \
	    echo "  install its venv module (Debian, Ubuntu: python3-venv)"; exit 3; }
	@echo "setting up $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	  -r requirements.lock -r requirements-build.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

run: $(VENV)/.setup ## the main job on this machine; without CLIPS and SCORES on a demo corpus
	@$(BIN)/vmafarm run $(OPTIONS) $(CORPUS) $(ARGS)

plan: $(VENV)/.setup ## join clips and scores, cut them into slices
	@$(BIN)/vmafarm plan $(OPTIONS) $(CORPUS) $(ARGS)

estimate: $(VENV)/.setup ## what a run will take, from a few clips scored here; ARGS="--sample 40"
	@$(BIN)/vmafarm estimate $(OPTIONS) $(CORPUS) $(ARGS)

doctor: $(VENV)/.setup ## what can go wrong later, tried now
	@$(BIN)/vmafarm doctor $(OPTIONS) $(CORPUS) $(ARGS)

merge: $(VENV)/.setup ## the final table, or the reasons why not
	@$(BIN)/vmafarm merge $(OPTIONS) $(ARGS)

qa: $(VENV)/.setup ## all checks of sql/qa; ARGS="--check mos" for the rows of one
	@$(BIN)/vmafarm qa $(OPTIONS) $(ARGS)

report: $(VENV)/.setup ## one HTML page on a run, which opens without a network
	@$(BIN)/vmafarm report $(OPTIONS) $(ARGS)

sql: $(VENV)/.setup ## a query over features, clips, failures and manifest: Q="SELECT ..."; without one, a prompt
	@$(BIN)/vmafarm sql $(OPTIONS) $(ARGS) $(if $(Q),-- "$$Q")

image: $(VENV)/.setup ## the Apptainer image; IMAGE_DEF=containers/cpu.def without a GPU
	@$(BIN)/vmafarm image $(or $(IMAGE_DEF),apptainer.def) $(ARGS)

submit: $(VENV)/.setup ## SLURM array jobs, the merge behind them
	@$(BIN)/vmafarm submit $(OPTIONS) $(CORPUS) $(ARGS)

retry: $(VENV)/.setup ## a new array with exactly what is missing
	@$(BIN)/vmafarm retry $(OPTIONS) $(ARGS)

status: $(VENV)/.setup ## how far a run is; ARGS="--watch" keeps looking
	@$(BIN)/vmafarm status $(OPTIONS) $(ARGS)

logs: $(VENV)/.setup ## who worked on a slice and what they said: SLICE=12
	@test -n "$$SLICE" || { echo "error: make logs wants a slice: make logs SLICE=12"; exit 2; }
	@$(BIN)/vmafarm logs $(OPTIONS) $(ARGS) -- "$$SLICE"

cancel: $(VENV)/.setup ## cancel a run's jobs
	@$(BIN)/vmafarm cancel $(OPTIONS) $(ARGS)

config: $(VENV)/.setup ## the effective configuration
	@$(BIN)/vmafarm config $(OPTIONS) $(ARGS)

demo: $(VENV)/.setup ## a small corpus in demo-corpus/
	@$(BIN)/vmafarm demo demo-corpus $(ARGS)

test: $(VENV)/.setup-dev ## the tests
	@$(PYTEST) -n 3 --dist loadfile -m "not full" $(ARGS)

fuzz: $(VENV)/.setup-dev ## what is read from disk, damaged at random, and any names: N=10000 examples a test
	@N="$(or $(N),10000)" $(PYTEST) -n 2 tests/fuzz tests/whole/test_names.py $(ARGS)

# SEED: which files; CASE: one again, as printed; ARGS="--keep FOLDER" keeps the files with violations.
fuzz-containers: $(VENV)/.setup-dev ## damage N video files at random; every row must be true, every failure the file's
	@cd tests && "$(CURDIR)/$(BIN)/python" -m containers_fuzz --files $(or $(N),$(if $(CASE),0,2000)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case "$$CASE") $(ARGS)

test-full: $(VENV)/.setup-dev ## the slow rest: whole clips, all extractors
	@$(PYTEST) -n 2 --dist loadfile -m full --timeout 1800 $(ARGS)

# N: kills, and a quarter as many failing calls; WRITERS: runs with two writers; CASE: one again, as printed.
crash: $(VENV)/.setup-dev ## kill runs N times, WRITERS times with two writers; nothing may be lost
	@cd tests && "$(CURDIR)/$(BIN)/python" -m crash --kills $(or $(N),0) --writers $(or $(WRITERS),0) \
	  $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case "$$CASE") $(ARGS)

test-cluster: $(VENV)/.setup-dev ## against a real SLURM and Apptainer; see tests/real_cluster/README.md
	@test -n "$$SLURM_CONF" && test -n "$$VMAFARM_IMAGES" || \
	  { echo "error: no cluster and no images to test against (SLURM_CONF, VMAFARM_IMAGES)"; \
	    echo "  tests/real_cluster/README.md tells how to make them"; exit 3; }
	@$(PYTEST) tests/real_cluster -n 3 --maxschedchunk 1 --timeout 1200 --no-skips $(ARGS)

bench: $(VENV)/.setup-dev ## the figures of docs/performance.md; BENCH="overhead merge" for some
	@$(BIN)/python -m benchmarks --out bench $(BENCH) $(ARGS)

coverage: $(VENV)/.setup-dev ## the tests, with the line coverage of jobs/
	@$(PYTEST) -n 2 --dist loadfile -m "not full" --cov --cov-report=term $(ARGS)

lint: $(VENV)/.setup-dev ## ruff, and which package may import which
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-logo

types: $(VENV)/.setup-dev ## mypy
	@$(BIN)/mypy

docs: $(VENV)/.setup ## the pages that are made of the code: docs/qa.md, docs/columns.md, the picture in CONTRIBUTING.md
	@$(BIN)/python tests/house.py
	@$(BIN)/python -c 'from vmafarm.query import checks; print(checks.as_markdown(), end="")' > docs/qa.md
	@$(BIN)/python -c 'from vmafarm.schema import columns; print(columns.as_markdown(), end="")' > docs/columns.md

screenshots: $(VENV)/.setup-dev ## docs/images/, of a made-up run, with a real Chromium
	@cd tests && "$(CURDIR)/$(BIN)/python" -m screenshots "$(CURDIR)/docs/images"

# Hashes, but no index address: each machine takes the packages from the index that pip is configured with.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-annotate --no-header $(ARGS)

lock: $(VENV)/.setup-dev ## update the lock files; ARGS="--upgrade" for newer versions
	@$(LOCK) pyproject.toml -o requirements.lock
	@$(LOCK) --group build -c requirements.lock -o requirements-build.lock
	@$(LOCK) --group dev -c requirements.lock -c requirements-build.lock pyproject.toml -o requirements-dev.lock

lowest: $(VENV)/.setup-dev ## the demo with the oldest versions of the dependencies that pyproject.toml allows
	@tests/lowest

clean: ## remove the virtual environment and caches, never runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
