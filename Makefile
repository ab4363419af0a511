# Everything here runs from a bare machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT_BASE ?= 8000
ONLY ?= a,b,c,d,e,f
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo tour test lint types imports unit bench profile wheel soak fuzz soak-sync format clean pictures

help: ## Show what there is to make
	@echo "Usage: make TARGET [PORT_BASE=$(PORT_BASE)]"; echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || { echo "== making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "== installing (the first time takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $(STAMP)

install: $(STAMP) ## Make .venv and install everything into it

demo: $(STAMP) ## Start the shop and the three gateways, walk through them, keep running
	@echo "== starting the shop and the gateways"
	@$(BIN)/bff up --port-base $(PORT_BASE)

tour: $(STAMP) ## Take the walk through a running demo again
	@$(BIN)/bff tour --port-base $(PORT_BASE)

test: lint types imports unit ## Check and test everything
	@echo "== all passed"

lint: $(STAMP) ## Check style and formatting
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted; run: make format"; exit 1; }

types: $(STAMP) ## Check types
	@echo "== mypy"
	@$(BIN)/mypy

imports: $(STAMP) ## Check that imports go down the floors only
	@echo "== import-linter"
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

# The tests start some hundred processes: what one of them has compiled, the others take, whatever the shell says of it.
unit: export PYTHONDONTWRITEBYTECODE =
unit: $(STAMP) ## Run the tests
	@echo "== pytest"
	@$(BIN)/pytest -n 4 --dist loadfile

bench: $(STAMP) ## Measure the page against the peers (SECONDS=4 ROUNDS=5 ONLY=a,b,c,d,e,f)
	@$(BIN)/python -m bench.compare --seconds $(or $(SECONDS),4) --rounds $(or $(ROUNDS),5) --only $(ONLY)

profile: $(STAMP) ## Show where a page's time goes (needs wrk and nginx: make bench installs them)
	@$(BIN)/python -m bench.profile --seconds $(or $(SECONDS),8)

wheel: $(STAMP) ## Build the wheel with the request's path compiled (needs a C compiler) into dist/
	@rm -rf build/source && mkdir -p build/source && git archive HEAD | tar -x -C build/source
	@cd build/source && HATCH_BUILD_HOOKS_ENABLE=1 ../../$(BIN)/python -m build --wheel --no-isolation --outdir ../../dist .
	@rm -rf build

# What is compiled takes no doubles of its classes and calls its own methods directly, so the tests that need either stay
# out: the fuzzer of the wire has a pool of its own, a bug is made by replacing a method.
test-wheel: wheel ## Run the tests on the compiled wheel (some minutes)
	@rm -rf .bench/wheel && mkdir -p .bench/wheel && git archive HEAD | tar -x -C .bench/wheel
	@rm -rf .bench/wheel/bff_core && $(BIN)/python -m pip install --quiet --no-deps --target .bench/wheel --upgrade dist/bff_core-*.whl
	@cd .bench/wheel && PYTHONPATH=. ../../$(BIN)/python -P -m pytest -n auto --dist loadfile --ignore tests/wire/test_fuzz.py \
	  --deselect tests/idempotency/test_pages.py::test_a_bug_is_no_answer \
	  --ignore tests/packaging --ignore tests/docs --ignore tests/e2e --ignore tests/core --ignore tests/performance

soak: $(STAMP) ## Minutes of bad luck for the web gateway (SECONDS=180)
	@$(BIN)/python -m bench.soak --seconds $(or $(SECONDS),180)

fuzz: $(STAMP) ## What nobody would send, to the wire, the server and the gateways (SECONDS=60 EXAMPLES=100)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --group fuzz 2>/dev/null || echo "no atheris for this Python: inputs by number instead"
	@$(BIN)/python -m bench.fuzz --seconds $(or $(SECONDS),60)
	@EXAMPLES=$(or $(EXAMPLES),100) $(BIN)/pytest --timeout 0 tests/hardening/test_schemathesis.py

soak-sync: $(STAMP) ## Bad luck for the sync of apps, many runs of it (STEPS=10000)
	@$(BIN)/python -m bench.sync_soak --steps $(or $(STEPS),10000)

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

clean: ## Remove what was made, the shop's data included
	rm -rf $(VENV) .shop .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

pictures: $(STAMP) ## Draw the pictures of the documents anew
	@$(BIN)/python -m bench.timeline
	@$(BIN)/python -m bench.console
	@$(BIN)/bff graph web:ProductPage --format svg --output docs/images/product-page.svg
