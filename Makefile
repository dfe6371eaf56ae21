PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test test-all test-browser check clean

demo: .venv/ready  ## train on the embedded digits, evaluate, export, and say where things are
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/demo

test: .venv/ready check  ## format, lint, types, and every test not marked slow or browser
	$(BIN)/python -m pytest -n 2

test-all: .venv/ready check  ## the slow tests too
	$(BIN)/python -m pytest -n 2 -m 'not browser'

test-browser: .venv/ready  ## TensorBoard and the explorer in headless Chromium (Debian's package `chromium`)
	command -v chromium >/dev/null && command -v chromedriver >/dev/null \
	  || { apt-get update && apt-get install -y --no-install-recommends chromium chromium-driver; }
	$(BIN)/python -m pytest -m browser

check: .venv/ready
	tools/check

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "needs Python 3.11 with venv (Debian: python3-venv); say which with make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf .venv runs/demo
