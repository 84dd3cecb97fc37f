# make demo    the whole product on this machine in about a minute; options: make demo DEMO="--forever"
# make test    every test
# make check   format, lint, types
# make bench   the benchmarks in short, below five minutes; peers only if make bench-full has made their environment
# make bench-full   all of it, against Faust, Quix Streams and whylogs in .venv-peers; writes benchmarks/RESULTS.md; takes most of an hour
# make parity  our drift scores beside those of Evidently and NannyML, in .venv-parity; writes benchmarks/PARITY.md
# make chaos   everything is killed, frozen and cut off under load, then counted again; options: make chaos CHAOS="--minutes 30 --seed 3"
# make lock    pin the dependencies anew; needs uv. Newer versions: make lock LOCK=--upgrade
# make clean   remove what the others made
#
# Needs Python 3.11 or newer, named by PYTHON if it is not python3. Everything is installed into .venv from the pins in requirements/.

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
PARITY := .venv-parity
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check bench bench-full parity chaos lock clean
.NOTPARALLEL:

demo: $(VENV)/installed-runtime
	$(BIN)/driftstream demo $(DEMO)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(VENV)/installed-test
	$(BIN)/python -m benchmarks

bench-full: $(VENV)/installed-test $(PEERS)/installed
	$(BIN)/python -m benchmarks --full

parity: $(VENV)/installed-test $(PARITY)/installed
	$(BIN)/python -m benchmarks.parity

chaos: $(VENV)/installed-test
	$(BIN)/python -m tests.chaos $(CHAOS)

# Each of runtime, test and dev contains the one before it, with the same pins, so they share one environment.
$(VENV)/installed-%: requirements/%.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements/build.txt -r $<
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

# Never in .venv: the peers need older versions of what driftstream needs (numpy, pydantic, confluent-kafka; pandas). Python 3.11 or 3.12.
.venv-%/installed: benchmarks/requirements-%.txt
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<  # all of it is there: no deps
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "driftstream needs Python 3.11 or newer; say which: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header $(LOCK)

lock:
	$(COMPILE) pyproject.toml --output-file requirements/runtime.txt
	$(COMPILE) pyproject.toml --group test --constraints requirements/runtime.txt --output-file requirements/test.txt
	$(COMPILE) pyproject.toml --group dev --constraints requirements/test.txt --output-file requirements/dev.txt
	$(COMPILE) benchmarks/requirements-peers.in --output-file benchmarks/requirements-peers.txt
	$(COMPILE) --no-strip-extras benchmarks/requirements-parity.in --output-file benchmarks/requirements-parity.txt
	$(COMPILE) --group build --constraints requirements/dev.txt --output-file requirements/build.txt

clean:
	rm -rf $(VENV) $(PEERS) $(PARITY) .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
