PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
ANOTHER := name another Python with make PYTHON=python3.12
PIP_MINIMUM := .venv-minimum/bin/python -m pip --disable-pip-version-check -qq

# Without bytecode each process that a test starts, and each worker, compiles its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo demo-stores demo-web demo-mobile test test-coverage test-slow \
    test-minimum mutants check check-style check-mypy check-pyright check-layers check-docs \
    docs tables bench bench-stores bench-sessions bench-load format dist clean

help:
	@echo "make install       create .venv with everything that development needs"
	@echo "make demo          serve the first example on 127.0.0.1:5000; PORT=5001 sets another port"
	@echo "make demo-stores   serve the second; STORE=redis://... sets the store, PORT= the port"
	@echo "make demo-web      serve the third, for browsers, on http://localhost:5000, or with PORT="
	@echo "make demo-mobile   serve the fourth, for clients without cookies; PORT= sets the port"
	@echo "make test          the tests"
	@echo "make test-coverage  the same, and how much of the package they run"
	@echo "make test-slow     those that start processes, browsers or servers of their own"
	@echo "make test-minimum  the tests on the oldest supported dependencies"
	@echo "make mutants       whether tests notice changes of the package; SEED= says which changes"
	@echo "make check         lint, format, types, architecture, documentation"
	@echo "make format        format the code and apply safe fixes"
	@echo "make docs          build the documentation into docs/_build/html"
	@echo "make tables        write anew what the pages have from the code"
	@echo "make bench         run the benchmarks"
	@echo "make bench-stores  run those of the stores on this machine's servers; CHART=FILE.svg draws them"
	@echo "make bench-sessions  run those of sessions, a million of them in each store"
	@echo "make bench-load    run those under load, with gunicorn and wrk; LOAD='--stores redis' runs a part"
	@echo "make dist          build the sdist and the wheel into dist/"
	@echo "make clean         remove all that was built, .venv included"

# Made with PYTHON; the stamps below fill it.
.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): $(ANOTHER)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Flask-AuthX needs Python 3.11 or newer, and $(PYTHON) is" \
	        "$$($(PYTHON) --version 2>&1): $(ANOTHER)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	    echo "The line above says why there is no .venv (Debian has venv in python3-venv)." >&2; \
	    exit 1; }

# Both stamps fill the same .venv: every pin of demo.txt is also one of dev.txt. That lists all it
# needs, so two pips can install half of it each.
.venv/.installed: requirements/dev.txt pyproject.toml | .venv/bin/python
	grep == requirements/dev.txt | xargs -n 100 -P 2 $(PIP) install --no-deps
	$(PIP) check
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

.venv/.demo: requirements/demo.txt pyproject.toml | .venv/bin/python
	$(PIP) install -r requirements/demo.txt
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

# The floors replace some pins of dev.txt; pip names the packages that ask for more, which is known.
.venv-minimum/.installed: requirements/dev.txt requirements/minimum.txt pyproject.toml | .venv/bin/python
	$(BIN)/python -m venv .venv-minimum
	$(PIP_MINIMUM) install -r requirements/dev.txt
	$(PIP_MINIMUM) install -r requirements/minimum.txt
	$(PIP_MINIMUM) install --no-build-isolation --no-deps --editable .
	@touch $@

.venv-docs/.installed: requirements/docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check -qq install -r requirements/docs.txt
	@touch $@

install: .venv/.installed

# The port of the examples: make demo PORT=5001.
PORT ?= 5000

demo: .venv/.demo
	@$(BIN)/python -m examples.token_callbacks --port "$(PORT)"

# The URL is passed in the environment: it may contain a password, and all users of the machine can
# see the arguments of its processes.
demo-stores: .venv/.demo
	@FLASK_STORE="$${STORE:-$$FLASK_STORE}" $(BIN)/python -m examples.stores --port "$(PORT)"

demo-web: .venv/.demo
	@$(BIN)/python -m examples.webapp --port "$(PORT)"

demo-mobile: .venv/.demo
	@$(BIN)/python -m examples.mobile_api --port "$(PORT)"

test: .venv/.installed
	@$(BIN)/python -m pytest -m "not slow"

test-coverage: .venv/.installed
	@$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term

# Many of them wait for a server; more than two at a time would keep each other from the processor.
test-slow: .venv/.installed
	@$(BIN)/python -m pytest -n 2 -m slow

# Flask 3.0 leaves the type of View.decorators open, which no strict type checker accepts.
test-minimum: .venv-minimum/.installed
	@.venv-minimum/bin/python -m pytest -m "not slow" -k "not keeps_its_signature"

# Which test runs which line, and then the mutants. A list of the same seed is added to, not begun
# anew: remove build/mutants-SEED.jsonl for that.
mutants: SEED ?= 1
mutants: CONTEXTS := --cov --cov-context=test --cov-report= --cov-fail-under=0
mutants: .venv/.installed
	@mkdir -p build
	COVERAGE_FILE=build/contexts.fast $(BIN)/python -m pytest -q -m "not slow" $(CONTEXTS)
	COVERAGE_FILE=build/contexts.slow $(BIN)/python -m pytest -q -n 2 -m slow $(CONTEXTS)
	$(BIN)/python -m tests.mutants --seed $(SEED) --out build/mutants-$(SEED).jsonl \
	    --contexts build/contexts.fast build/contexts.slow

# With make -j 2 they run side by side.
check: check-style check-mypy check-pyright check-layers check-docs

check-style: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

check-mypy: .venv/.installed
	$(BIN)/mypy

# --verifytypes looks the package up with the first python of the PATH, whatever its options say.
check-pyright: .venv/.installed
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes flask_authx --ignoreexternal

check-layers: .venv/.installed
	$(BIN)/lint-imports --no-logo

check-docs: .venv/.installed
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

# It reads Markdown alone, so its environment is small.
docs: .venv-docs/.installed
	.venv-docs/bin/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html."

# The parts of the pages that are written from the code.
tables: .venv/.installed
	$(BIN)/python docs/_ext/picture.py
	PYTHONPATH=docs/_ext $(BIN)/python -m cogapp -p "import reference" -r docs/*.md

bench: .venv/.installed
	@$(BIN)/python -m benchmarks

# The picture in the documentation is docs/_static/stores.svg.
bench-stores: CHART ?= build/stores.svg
bench-stores: .venv/.installed
	@mkdir -p "$(dir $(CHART))"
	@$(BIN)/python -m benchmarks.stores --chart "$(CHART)"
	@echo "The chart is in $(CHART); with CHART=docs/_static/stores.svg it is that of the documentation."

# A million sessions in each store: some minutes, on a quiet machine.
bench-sessions: .venv/.installed
	@$(BIN)/python -m benchmarks.sessions

# All stores, kinds of workers and numbers of clients: ten minutes, on a quiet machine.
bench-load: .venv/.installed
	@$(BIN)/python -m benchmarks.load $(LOAD)

format: .venv/.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

dist: .venv/.installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist

clean:
	rm -rf .venv .venv-minimum .venv-docs build dist docs/_build *.egg-info htmlcov .coverage .coverage.*
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
