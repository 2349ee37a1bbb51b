# make quickstart   set up and run a first search
# make test         set up and run the suite, a few minutes
# make test-slow    statistical checks of the optimizers that fit a model for every proposal
# make report-test  the HTML report in a real browser; installs Debian's Chromium where none is
# make check        lint and types
# make surrogate    refit the surrogate's tables and trees (20 minutes) from ../shared/hwgptbench

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
APT_INSTALL := apt-get install -y -qq --no-install-recommends
WORKERS ?= 2

.PHONY: quickstart test test-slow report-test check surrogate clean

quickstart: .venv/.run
	$(BIN)/hwnas run experiments/quickstart.yaml --workers $(WORKERS)

test: .venv/.dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

test-slow: .venv/.dev
	$(BIN)/python -m pytest -m slow --numprocesses $(WORKERS) --dist worksteal

report-test: .venv/.dev
	@for name in chromium chromium-browser google-chrome; do \
		command -v $$name >/dev/null && exit 0; \
	done; \
	$(APT_INSTALL) chromium >/dev/null 2>&1 || { apt-get -qq update && $(APT_INSTALL) chromium; } || \
		{ echo "no Chromium; on Debian: apt install chromium" >&2; exit 2; }
	$(BIN)/python -m pytest tests/test_browser.py

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

surrogate: .venv/.fit
	$(BIN)/python benchmarks/fit_surrogate.py --data ../shared/hwgptbench
	$(BIN)/python benchmarks/fit_trees.py --data ../shared/hwgptbench

clean:
	rm -rf .venv build dist *.egg-info

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hwnas needs Python 3.11 or newer; name one: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "no venv module; on Debian: apt install python3-venv" >&2; exit 2; }

.venv/.run: .venv/bin/pip setup.cfg constraints.txt
	$(INSTALL) --editable '.[pymoo,syne-tune]'
	@touch $@

.venv/.fit: .venv/bin/pip setup.cfg constraints.txt
	$(INSTALL) --editable '.[fit]'
	@touch $@

.venv/.dev: .venv/bin/pip setup.cfg constraints.txt
	$(INSTALL) --editable '.[dev]'
	@touch $@
