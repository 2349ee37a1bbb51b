# make quickstart   set up and run a first search
# make test         set up and run the suite, a few minutes
# make test-minimum  with the oldest libraries that setup.cfg allows, on Python 3.11, the oldest
# make test-slow    statistical checks of the optimizers that fit a model for every proposal
# make faults       injects faults into runs of every optimizer and executor, half an hour
# make report-test  the HTML report in a real browser; installs Debian's Chromium where none is
# make check        lint and types
# make docs         the documentation as a site, build/site
# make audit        known vulnerabilities of the pinned versions
# make surrogate    refit the surrogate's tables and trees (20 minutes) from ../shared/hwgptbench

PYTHON ?= python3
MINIMUM_PYTHON ?= python3.11
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
APT_INSTALL := apt-get install -y -qq --no-install-recommends
WORKERS ?= 2

.PHONY: quickstart test test-minimum test-slow faults report-test check docs audit surrogate clean

quickstart: .venv/.run
	$(BIN)/hwnas run experiments/quickstart.yaml --workers $(WORKERS)

test: .venv/.dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# Tests that need no library but those of hwnas and pymoo, and seconds.
test-minimum: .venv-minimum/.test
	.venv-minimum/bin/python -m pytest tests/minimum tests/test_pareto.py tests/test_objectives.py \
		tests/test_fronts.py tests/test_yaml_loader.py tests/test_compat.py tests/spaces

test-slow: .venv/.dev
	$(BIN)/python -m pytest -m slow --numprocesses $(WORKERS) --dist worksteal

faults: .venv/.dev
	$(BIN)/python tests/faults/suite.py

report-test: .venv/.dev
	@for name in chromium chromium-browser google-chrome; do \
		command -v $$name >/dev/null && exit 0; \
	done; \
	$(APT_INSTALL) chromium >/dev/null 2>&1 || { apt-get -qq update && $(APT_INSTALL) chromium; } || \
		{ echo "no Chromium; on Debian: apt install chromium" >&2; exit 2; }
	$(BIN)/python -m pytest tests/test_browser.py tests/test_explorer_browser.py

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Strictly: a link without a target, or a page that nothing leads to, is an error.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The versions of constraints.txt, whether installed here or not. Where the database cannot be reached, or
# knows none of them, a line says so; that is no fault of the versions, so it passes.
audit: .venv-audit/bin/pip-audit
	@lines=$$(.venv-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip \
		--progress-spinner off 2>&1); code=$$?; \
	unknown=$$(echo "$$lines" | grep -c "could not be audited"); \
	case "$$lines" in \
		*onnection*|*"Max retries"*|*roxy*|*imeout*|*"Service Unavailable"*) \
			echo "audit: the database of vulnerabilities cannot be reached; nothing was audited" >&2 ;; \
		*) echo "$$lines" | grep -Ev "could not be audited|^WARNING|^Name|^---"; \
			[ $$unknown -eq 0 ] || \
				echo "audit: $$unknown of $$(grep -c '^[A-Za-z]' constraints.txt) versions are unknown there" >&2; \
			exit $$code ;; \
	esac

.venv-audit/bin/pip-audit:
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit

surrogate: .venv/.fit
	$(BIN)/python benchmarks/fit_surrogate.py --data ../shared/hwgptbench
	$(BIN)/python benchmarks/fit_trees.py --data ../shared/hwgptbench

clean:
	rm -rf .venv .venv-minimum .venv-audit build dist *.egg-info

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

.venv/.docs: .venv/bin/pip setup.cfg constraints.txt
	$(INSTALL) --editable '.[dev,docs]'
	@touch $@

.venv/.dev: .venv/bin/pip setup.cfg constraints.txt
	$(INSTALL) --editable '.[dev]'
	@touch $@

# The oldest versions: every NAME>=VERSION of setup.cfg becomes the constraint NAME==VERSION. Libraries
# that hwnas does not name are the newest ones, as for a user whose installation is old.
.venv-minimum/.test: setup.cfg
	@$(MINIMUM_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "the oldest libraries need Python 3.11; name one: make test-minimum MINIMUM_PYTHON=..." >&2; \
		exit 2; }
	@$(MINIMUM_PYTHON) -m venv --clear .venv-minimum || \
		{ rm -rf .venv-minimum; echo "no venv module; on Debian: apt install python3-venv" >&2; exit 2; }
	sed -n 's/^    \([A-Za-z][A-Za-z0-9_-]*\)>=\([0-9.]*\).*/\1==\2/p' setup.cfg >.venv-minimum/oldest.txt
	.venv-minimum/bin/pip install --quiet --disable-pip-version-check \
		--constraint .venv-minimum/oldest.txt --editable '.[pymoo]' pytest hypothesis
	@touch $@
