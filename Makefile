# Everything a newcomer or a maintainer types. `make` alone lists it.
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
ARGS ?=
# Test processes side by side. Most tests wait for other processes rather than compute.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test run check lint bench storm docs install uninstall man clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with all that is needed (the others do it by themselves)

$(READY): setup.cfg setup.py bin/setup
	@bin/setup $(VENV)
	@touch $@

demo: $(READY) ## send an invoice all the way, without a key or a cent, and show what comes back
	@$(VENV)/bin/claude-relay demo $(ARGS)

test: $(READY) ## run every test (ARGS='-k name' to choose; JOBS=0: one after the other)
	@$(PY) -Im pytest -n $(JOBS) --dist loadscope $(ARGS) || { \
		echo "What failed runs once more, with the machine to itself: only what fails again has failed."; \
		$(PY) -Im pytest --last-failed --last-failed-no-failures none $(ARGS); }

run: $(READY) ## the API and a worker together, with the settings of .env
	@$(VENV)/bin/claude-relay serve --with-worker $(ARGS)

check: lint test ## what CI runs: style, types, then every test

lint: $(READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

bench: $(READY) ## measure it
	@$(PY) -m benchmarks $(ARGS)

storm: $(READY) ## five minutes of SIGKILL at random, judged from outside (ARGS='--seed N --seconds N', '--batch')
	@$(PY) -m tests.faults.storm $(ARGS)

docs: $(READY) ## write .env.example and the README's settings anew from the options
	@$(PY) -m claude_relay.config

install: ## put it on this server (as root): /opt, units, man pages, completion; again is the upgrade
	@bin/install-server install

uninstall: ## take it off again; jobs, logs, settings and keys stay
	@bin/install-server uninstall

man: $(READY) ## write the man pages to build/man
	@$(PY) -m claude_relay.cli.man_pages build/man

clean: ## remove .venv and all that can be made again; jobs and logs stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
