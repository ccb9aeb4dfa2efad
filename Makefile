# Each target calls one verb of the command vmafarm.
#   CONFIG=file.toml       the configuration
#   CLIPS=dir SCORES=file  the corpus
#   SLICE=12               the slice, for logs
#   N=1000 WRITERS=200     kills, and runs with two writers, for crash; SEED=1 or CASE=... repeats them
#   N=2000                 files, for fuzz-containers; SEED=1 or CASE=... repeats them
#   Q="SELECT ..."         the query, for sql
#   ARGS="..."             more options of the verb
#   PYTHON=python3.12      the interpreter of the virtual environment
#   UV=                    set it up with pip, although uv is there

PYTHON ?= python3
UV ?= $(shell command -v uv)
VENV := .venv
BIN := $(VENV)/bin
export CONFIG CLIPS SCORES SLICE CASE Q

# Values reach the verbs through the environment: names may hold spaces and quotes.
OPTIONS = $(if $(CONFIG),--config "$$CONFIG")
CORPUS = $(if $(CLIPS),--clips "$$CLIPS") $(if $(SCORES),--scores "$$SCORES")
# Bytecode is kept: each worker loads all tests, and these start hundreds of processes.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
# Whole files to workers, in the order of tests/conftest.py. One more worker than processors: tests also wait.
WORKERS = -n $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder

.PHONY: help setup run plan estimate doctor image submit retry runs status failures efficiency logs cancel merge tidy qa report combine sql config demo test fuzz fuzz-containers test-full crash bench test-cluster coverage lint types docs screenshots lock lowest clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-15s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.setup ## create .venv with the locked dependencies

$(VENV)/.setup: requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), Python 3.11 or newer is needed"; \
	    echo "  choose another one: make PYTHON=python3.12 ..."; exit 3; }
	@echo "this downloads about 200 MB once, and takes one to three minutes"
	@PYTHON="$(PYTHON)" UV="$(UV)" ./setup.sh $(VENV) requirements.lock requirements-build.lock .
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup requirements-dev.lock
	@PYTHON="$(PYTHON)" UV="$(UV)" ./setup.sh $(VENV) requirements-dev.lock
	@touch $@

run: $(VENV)/.setup ## plan, score and publish on this machine; without CLIPS: go on, or score a demo corpus
	@$(BIN)/vmafarm run $(OPTIONS) $(CORPUS) $(ARGS)

plan: $(VENV)/.setup ## join clips and scores, and cut them into slices
	@$(BIN)/vmafarm plan $(OPTIONS) $(CORPUS) $(ARGS)

estimate: $(VENV)/.setup ## estimate what a run takes by scoring a few clips here; ARGS="--sample 40"
	@$(BIN)/vmafarm estimate $(OPTIONS) $(CORPUS) $(ARGS)

doctor: $(VENV)/.setup ## check everything a run needs
	@$(BIN)/vmafarm doctor $(OPTIONS) $(CORPUS) $(ARGS)

merge: $(VENV)/.setup ## publish the final table, or explain why it cannot be
	@$(BIN)/vmafarm merge $(OPTIONS) $(ARGS)

qa: $(VENV)/.setup ## run all checks of sql/qa; ARGS="--check mos" shows the rows of one
	@$(BIN)/vmafarm qa $(OPTIONS) $(ARGS)

report: $(VENV)/.setup ## write one HTML page about a run; it opens offline
	@$(BIN)/vmafarm report $(OPTIONS) $(ARGS)

combine: $(VENV)/.setup ## make one table of several: ARGS="all.parquet k150k live"
	@$(BIN)/vmafarm combine $(OPTIONS) $(ARGS)

sql: $(VENV)/.setup ## query features, clips, failures and manifest: Q="SELECT ..."
	@$(BIN)/vmafarm sql $(OPTIONS) $(ARGS) $(if $(Q),-- "$$Q")

image: $(VENV)/.setup ## build the Apptainer image; without a GPU: IMAGE_DEF=containers/cpu.def
	@$(BIN)/vmafarm image $(or $(IMAGE_DEF),apptainer.def) $(ARGS)

submit: $(VENV)/.setup ## queue SLURM array jobs, and the merge after them
	@$(BIN)/vmafarm submit $(OPTIONS) $(CORPUS) $(ARGS)

retry: $(VENV)/.setup ## queue exactly what is missing
	@$(BIN)/vmafarm retry $(OPTIONS) $(ARGS)

runs: $(VENV)/.setup ## list the runs: clips, rows, failures, table, last activity
	@$(BIN)/vmafarm runs $(OPTIONS) $(ARGS)

status: $(VENV)/.setup ## show the progress of a run; ARGS="--watch" refreshes it
	@$(BIN)/vmafarm status $(OPTIONS) $(ARGS)

failures: $(VENV)/.setup ## list the clips that failed, and why; ARGS="--class timeout"
	@$(BIN)/vmafarm failures $(OPTIONS) $(ARGS)

efficiency: $(VENV)/.setup ## show what elements used of what was asked for, and what to ask for next time
	@$(BIN)/vmafarm efficiency $(OPTIONS) $(ARGS)

logs: $(VENV)/.setup ## show jobs, logs and failures of one slice: SLICE=12
	@test -n "$$SLICE" || { echo "error: make logs needs a slice: make logs SLICE=12"; exit 2; }
	@$(BIN)/vmafarm logs $(OPTIONS) $(ARGS) -- "$$SLICE"

cancel: $(VENV)/.setup ## cancel the jobs of a run
	@$(BIN)/vmafarm cancel $(OPTIONS) $(ARGS)

tidy: $(VENV)/.setup ## pack the logs of a published run, remove what no verb needs; ARGS="--dry-run" counts it
	@$(BIN)/vmafarm tidy $(OPTIONS) $(ARGS)

config: $(VENV)/.setup ## show the effective configuration
	@$(BIN)/vmafarm config $(OPTIONS) $(ARGS)

demo: $(VENV)/.setup ## make a small corpus in demo-corpus/
	@$(BIN)/vmafarm demo demo-corpus $(ARGS)

test: $(VENV)/.setup-dev ## run the tests
	@$(PYTEST) $(WORKERS) -m "not full" $(ARGS)

fuzz: $(VENV)/.setup-dev ## read randomly damaged files, score clips of random names; N=10000 examples per test
	@N="$(or $(N),10000)" $(PYTEST) -n 2 tests/fuzz tests/whole/test_names.py $(ARGS)

# SEED: which files; CASE: repeat one, as printed; ARGS="--keep FOLDER" keeps the files that broke a rule.
fuzz-containers: $(VENV)/.setup-dev ## score N randomly damaged videos; no row may be wrong, no good file may fail
	@cd tests && "$(CURDIR)/$(BIN)/python" -m containers_fuzz --files $(or $(N),$(if $(CASE),0,2000)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case "$$CASE") $(ARGS)

test-full: $(VENV)/.setup-dev ## run the slow tests: whole clips, all extractors
	@$(PYTEST) $(WORKERS) -m full --timeout 1800 $(ARGS)

# N: kills, and a quarter as many failing calls; WRITERS: runs with two writers; CASE: repeat one, as printed.
crash: $(VENV)/.setup-dev ## kill N runs, and WRITERS runs with two writers; no row may be lost
	@cd tests && "$(CURDIR)/$(BIN)/python" -m crash --kills $(or $(N),0) --writers $(or $(WRITERS),0) \
	  $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case "$$CASE") $(ARGS)

test-cluster: $(VENV)/.setup-dev ## test against a real SLURM and Apptainer; see tests/real_cluster/README.md
	@test -n "$$SLURM_CONF" && test -n "$$VMAFARM_IMAGES" || \
	  { echo "error: no cluster or no images to test against (SLURM_CONF, VMAFARM_IMAGES)"; \
	    echo "  tests/real_cluster/README.md explains how to set them up"; exit 3; }
	@$(PYTEST) tests/real_cluster -n 3 --maxschedchunk 1 --timeout 1200 --no-skips $(ARGS)

bench: $(VENV)/.setup-dev ## measure the figures of docs/performance.md; BENCH="overhead merge" for some of them
	@$(BIN)/python -m benchmarks --out bench $(BENCH) $(ARGS)

coverage: $(VENV)/.setup-dev ## run the tests, and measure line coverage of jobs/
	@$(PYTEST) $(WORKERS) -m "not full" --cov --cov-report=term $(ARGS)

lint: $(VENV)/.setup-dev ## run ruff, and check which package imports which
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-logo

types: $(VENV)/.setup-dev ## run mypy
	@$(BIN)/mypy

docs: $(VENV)/.setup ## generate docs/qa.md, docs/columns.md and the diagram in CONTRIBUTING.md
	@$(BIN)/python tests/house.py
	@$(BIN)/python -c 'from vmafarm.query import checks; print(checks.as_markdown(), end="")' > docs/qa.md
	@$(BIN)/python -c 'from vmafarm.schema import columns_text; print(columns_text.as_markdown(), end="")' > docs/columns.md

screenshots: $(VENV)/.setup-dev ## render docs/images/ from a synthetic run with Chromium
	@cd tests && "$(CURDIR)/$(BIN)/python" -m screenshots "$(CURDIR)/docs/images"

# Hashes, but no index address: each machine takes the packages from the index that pip is configured with.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-annotate --no-header $(ARGS)

lock: $(VENV)/.setup-dev ## update the lock files; ARGS="--upgrade" for newer versions
	@$(LOCK) pyproject.toml -o requirements.lock
	@$(LOCK) --group build -c requirements.lock -o requirements-build.lock
	@$(LOCK) --group dev -c requirements.lock -c requirements-build.lock pyproject.toml -o requirements-dev.lock

lowest: $(VENV)/.setup-dev ## run the demo with the oldest dependencies that pyproject.toml allows
	@tests/lowest

clean: ## remove the virtual environment and caches; runs are kept
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
