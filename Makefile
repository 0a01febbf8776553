# The commands for newcomers and maintainers. `make` alone lists them.
VENV := .venv
ARGS ?=
# Test processes side by side: more than two cores, since most tests wait for other processes rather than compute.
JOBS ?= 3

# The Python: PY=… if it is given, the active virtual environment if it has the libraries, else .venv, which is made.
ifndef PY
  ifdef VIRTUAL_ENV
    PY := $(shell "$$VIRTUAL_ENV/bin/python" bin/has_libraries.py && echo "$$VIRTUAL_ENV/bin/python")
  endif
  ifeq ($(PY),)
    PY := $(VENV)/bin/python
  endif
endif
ifeq ($(PY),$(VENV)/bin/python)
  READY := $(VENV)/.ready
else
  # The package need not be installed there.
  export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
endif
PYTEST := "$(PY)" -Im pytest -n $(JOBS) --dist loadscope
# What the tests and the verbs start by bin/claude-relay runs on the same Python.
export CLAUDE_RELAY_PYTHON := $(if $(READY),$(CURDIR)/$(PY),$(PY))

.DEFAULT_GOAL := help
.PHONY: help setup deps demo run unit fast test check lint bench storm prove-storm prove-batch-storm prove-power-cut \
        prove-bitflips prove-checks prove-mutants prove-crash prove-openapi prove-flat prove-pages prove-retention prove-snapshot \
        prove-n8n prove-bare attack docs constraints release install uninstall man clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' "$(firstword $(MAKEFILE_LIST))"

setup: $(READY) ## make .venv with the libraries (the other targets do it themselves)

$(VENV)/.ready: setup.cfg setup.py pyproject.toml bin/setup
	@bin/setup $(VENV)
	@touch $@

deps: ## install the programs that the tests use (as root, with apt-get)
	@bin/deps

demo: $(READY) ## send a folder of invoices through the relay and show the results; no API key, no cost
	@bin/claude-relay demo $(ARGS)

run: $(READY) ## run the API and a worker with the settings of .env
	@bin/claude-relay serve --with-worker $(ARGS)

unit: $(READY) ## run the unit tests that start no process (20 seconds)
	@$(PYTEST) -n 2 -m 'not process' tests/unit $(ARGS)

fast: $(READY) ## run unit, SQLite contract, API and CLI tests (90 seconds)
	@$(PYTEST) --sqlite-only tests/unit tests/contract tests/api tests/cli $(ARGS)

test: $(READY) ## run every test (ARGS='-k name' chooses, JOBS=0 runs one after the other)
	@$(PYTEST) $(ARGS)

check: lint test ## run what CI runs: style, spelling, types, then every test

lint: $(READY) ## check style, spelling and types
	@"$(PY)" -Im ruff check .
	@"$(PY)" -Im ruff format --check .
	@"$(PY)" -Im codespell_lib
	@"$(PY)" -Im mypy

bench: $(READY) ## measure the relay beside its peers, and write docs/reference/benchmarks.md (20 minutes; ARGS chooses)
	@"$(PY)" -m benchmarks $(ARGS)

storm: prove-storm

prove-storm: $(READY) ## kill processes at random for five minutes (ARGS='--seconds N --seed N --postgres', or --collections --rows N)
	@"$(PY)" -m tests.faults.storm $(ARGS)

prove-batch-storm: $(READY) ## the same over a thousand batched jobs (ARGS='--jobs N --seed N')
	@"$(PY)" -m tests.faults.storm --batch $(ARGS)

prove-power-cut: $(READY) ## cut the power at every write, with a random seed (ARGS='--proof-seed N')
	@$(PYTEST) --proof tests/faults/test_power_cut.py $(ARGS)

prove-bitflips: $(READY) ## flip 5,000 bits of a store and its log, one by one (ARGS='--flips N --seed N')
	@"$(PY)" -m tests.faults.bitflips $(ARGS)

prove-mutants: $(READY) ## change core and services at random for ten minutes: a test must notice (ARGS='--seconds N --seed N --only FILE')
	@"$(PY)" -m tests.mutants $(ARGS)

attack: $(READY) ## attack the relay for some minutes, and print what was tried (ARGS='--seed N --kind WORD')
	@"$(PY)" -m tests.attack $(ARGS)

prove-openapi: $(READY) ## make 200 requests of every route from the OpenAPI document, and type-check a client
	@$(PYTEST) --proof tests/api/test_openapi_proof.py $(ARGS)
	@tests/api/prove_openapi_client "$(PY)"

prove-checks: $(READY) ## plant 250 faults in 500 invoices, and find them through the relay (ARGS='--proof-seed N')
	@$(PYTEST) --proof tests/process/test_planted_faults.py $(ARGS)

prove-n8n: $(READY) ## run the workflows for n8n in a real n8n (ARGS='--rows N --n8n PROGRAM'; else npm installs it)
	@"$(PY)" -m tests.prove_n8n $(ARGS)

prove-crash: $(READY) ## fail every statement, and walk random orders of events (ARGS='--proof-seed N')
	@$(PYTEST) --proof tests/faults/test_crash_walk.py tests/faults/test_relay_machine.py tests/faults/test_batch_machine.py $(ARGS)

prove-flat: $(READY) ## compare the work of each use case and page with a thousand jobs and with a million (ARGS='--keep-stores FOLDER')
	@$(PYTEST) --proof --timeout 3600 tests/contract/test_flat.py tests/dashboard/test_flat_pages.py -k 'visits or no_page' $(ARGS)

prove-pages: $(READY) ## the CPU and bytes of each page of the dashboard with a million jobs (ARGS='--jobs N --waiting N --postgres')
	@"$(PY)" -m tests.dashboard.page_times $(ARGS)

prove-retention: $(READY) ## erase a million jobs while another thread submits (ARGS='--jobs N --postgres --limit MS')
	@"$(PY)" -m tests.faults.retention $(ARGS)

prove-snapshot: $(READY) ## run jobs on PostgreSQL while another client holds a snapshot open (ARGS='--jobs N --parts N')
	@"$(PY)" -m tests.faults.snapshot $(ARGS)

prove-bare: ## run demo and every test on a copy of this machine without the programs of `make deps` (as root)
	@tests/bare/box --user make demo
	@tests/bare/box --user make test ARGS='$(ARGS)'
	@tests/bare/box --root make test ARGS='$(ARGS)'

docs: $(READY) ## write .env.example and the settings reference from the options
	@"$(PY)" -m claude_relay.config

constraints: ## write the exact versions of the libraries, with hashes, anew (needs uv)
	@bin/constraints

release: $(READY) ## check version, changelog and tag, and build sdist and wheel into dist/
	@bin/release "$(PY)" $(ARGS)

install: ## install or upgrade on this server (as root): /opt, units, man pages, completion
	@bin/install-server install

uninstall: ## remove the installation; jobs, logs, settings and keys stay
	@bin/install-server uninstall

man: $(READY) ## write the man pages to build/man
	@"$(PY)" -m claude_relay.cli.man_pages build/man

clean: ## remove .venv and everything that can be built again; jobs and logs stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
