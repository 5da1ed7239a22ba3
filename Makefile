# `make` alone lists the targets. Every path is relative and quoted, so that the folder's own path
# may have a space. From the environment or the command line:
#   PYTHON  the interpreter for the virtual environment (default: the first that is 3.11 or newer)
#   VENV    where the virtual environment is (default: .venv)
#   WORKERS processes that share the tests (default: 3); 0: one test after the other, here
#   ARGS    more arguments for pytest: make test ARGS="-k presence"
.DEFAULT_GOAL := help
.PHONY: help run cluster serve bench test torture test-deps lint types imports migrations check format reset clean
export VENV ?= .venv
WORKERS ?= 3
PY = "$(VENV)/bin/python"
# Checks never touch the developer's own database or secret key.
WITH_TEST_SETTINGS = DJANGO_SETTINGS_MODULE=tests.support.settings

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: ## Install what is needed, migrate, make the demo accounts, and serve (HOST, PORT, DATABASE_URL)
	@scripts/install requirements.txt
	@exec $(PY) -m scripts.run

serve: ## Serve in production: no demo accounts, no migrations (HOST, PORT, WEB_CONCURRENCY, REDIS_URL)
	@scripts/install requirements.txt
	@exec $(PY) -m ovara.server

cluster: ## Serve with Redis, three nodes and a load balancer on this machine (HOST, PORT)
	@scripts/install requirements.txt
	@exec $(PY) -m scripts.cluster

test: ## Run all tests (ARGS="…" goes to pytest)
	@scripts/install requirements-dev.txt
	@scripts/test-js
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

torture: ## Kill servers again and again and look for what was lost (SEED=… KILLS=… ARGS="--help")
	@scripts/install requirements-dev.txt
	@$(PY) -m scripts.torture $(ARGS)

test-deps: ## Install the Debian packages that the tests use (once; as root or with sudo)
	@scripts/test-deps

bench: ## Compare with other servers (ARGS="--short"); needs gcc, node, npm and taskset
	@scripts/install requirements.txt
	@$(PY) -m pip install --quiet -r benchmarks/requirements.txt
	@npm install --prefix benchmarks --no-package-lock --no-audit --no-fund --silent
	@$(PY) -m benchmarks.run $(ARGS)

lint: ## Check style and common mistakes
	@scripts/install requirements-dev.txt
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: ## Check types: Python, and the JSDoc of the browser code
	@scripts/install requirements-dev.txt
	@$(PY) -m mypy
	@scripts/types-js

imports: ## Check the directions between the packages
	@scripts/install requirements-dev.txt
	@"$(VENV)/bin/lint-imports" --no-logo

migrations: ## Check that the migrations match the models
	@scripts/install requirements-dev.txt
	@$(WITH_TEST_SETTINGS) $(PY) manage.py makemigrations --check --dry-run
	@$(WITH_TEST_SETTINGS) $(PY) manage.py check

check: lint types imports migrations ## Lint, types, import contract, clean migrations

format: ## Format the code and mend what can be mended by itself
	@scripts/install requirements-dev.txt
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

reset: ## Delete the local data: database, accounts, secret key (all of var/)
	@rm -rf var
	@echo "Deleted var/: the SQLite database, the demo accounts and the secret key."
	@echo "The next 'make run' starts afresh. A database that DATABASE_URL names was not touched."

clean: ## Delete what the tools generate (not the data, see reset)
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache staticfiles
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Deleted the virtual environment and the caches."
