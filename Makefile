# The commands of this repository. Each sets up what it needs; nothing has to be installed by hand.
#
#   make demo           real files through an emulated portal, checked and timed
#   make test           the whole test suite, both codec backends
#   make lint           ruff and its format, mypy --strict, imports, phrases, changelog fragments, workflows
#   make coverage       which lines and branches the unit and functional tests run, into build/coverage
#   make docs           the documentation, into build/site; warnings and dead links are errors
#   make docs-nightly   the documentation in Chromium, and its links to other sites
#   make screenshots    the pictures of commands in docs/img, drawn again
#   make test-pythons   the tests on Python 3.9, 3.11 and 3.13
#   make test-nightly   the tests that take a minute or more, the killed downloads, the mutants
#   make test-heavy     Ray Data, Airflow and PyTorch, in environments of their own (docs/reliability.md)
#   make test-lowest    the unit tests, and more, on the lowest versions of all dependencies
#   make bench-codec    the codec against its rivals          (bench/README.md)
#   make bench          whole downloads against their rivals  (bench/README.md)
#   make bench-networks  clients behind simulated networks; FULL=1: larger files (bench/README.md)
#   make bench-smoke    each program of the two, once
#   make fuzz SECONDS=n the fuzzers                           (csrc/README.md)
#   make schedules-http MINUTES=n  HTTP under a model, by chance (docs/reliability.md)
#   make soak MINUTES=n everything at once, with faults, and mirrors for as long (docs/reliability.md)
#   make schedules MINUTES=n the engine under seeded schedules (docs/reliability.md)
#   make simulate MINUTES=n the client in simulated networks and crashes (docs/reliability.md)
#   make mirror-histories HISTORIES=n SEED=n  random histories of mirrors, in pieces (docs/reliability.md)
#   make mutants        whether schedules and simulation find faults that are put back
#   make wheel          the wheel for this machine            (wheels/README.md)

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 60
MINUTES ?= 1
# Twice the processors: many tests wait, for a time-out or for another process.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(2 * os.cpu_count())')

.PHONY: demo test test-c test-nightly test-pythons test-lowest test-heavy coverage docs docs-nightly screenshots lint bench bench-codec bench-networks bench-smoke fuzz fuzz-c fuzz-keys fuzz-http schedules-http soak schedules simulate mirror-histories mutants wheel clean

demo: $(VENV)/.built
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed test-c
	$(BIN)/python -X dev -m pytest -n $(WORKERS)

# What takes minutes and rarely breaks. The kills, the mutants and the histories are programs, not tests.
test-nightly: $(VENV)/.installed
	$(BIN)/python -X dev -m pytest -n $(WORKERS) -m nightly
	$(BIN)/python -m tests.faults.killing
	$(BIN)/python -m tests.schedules --mutants
	$(BIN)/python -m tests.faults.mirror_night --histories $(HISTORIES) --seed $(SEED)

test-c: $(VENV)/.system
	$(MAKE) -C csrc test

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/check-prose.py
	$(BIN)/python tools/check-changelog.py
	$(BIN)/zizmor --offline --quiet .github

# Programs that tests start are measured, too. The floor is fail_under in pyproject.toml. A child of os.fork that
# ends by os._exit, or a process that a signal ends, leaves no figures. Some tests leave a program no thread,
# no room on the disk or no permission, so that it cannot write its figures either.
UNMEASURED := test_limit_of_threads or test_wrong_codec_in_another_program \
    or test_folder_without_permission or test_disk_that_fills_up
coverage: $(VENV)/.installed
	@mkdir -p build/coverage
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term --cov-report=html \
	    -k 'not ($(UNMEASURED))' tests/unit tests/functional

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python tools/docs/check-links.py

# Chromium and its driver are Debian's: apt-get install chromium chromium-driver.
docs-nightly: docs
	$(BIN)/python tools/docs/check-links.py --external
	$(BIN)/python -m pytest -n 0 -m browser tests/integrations/test_site.py

screenshots: $(VENV)/.installed
	$(BIN)/python tools/docs/screenshots.py

test-pythons: $(VENV)/.system
	WORKERS=$(WORKERS) tools/test-pythons.sh

test-lowest: $(VENV)/.system
	WORKERS=$(WORKERS) PYTHON=$(PYTHON) tools/test-lowest.sh

# Programs that are too large for the environment of `make test`. Not part of CI.
test-heavy: $(VENV)/.system
	PYTHON=$(PYTHON) tools/test-heavy.sh

bench-codec: $(VENV)/.installed
	$(BIN)/python bench/codec/run.py

bench: $(VENV)/.installed
	$(BIN)/python bench/transfer/run.py

bench-networks: $(VENV)/.installed
	$(BIN)/python -m bench.networks.run $(if $(FULL),--full)

# That each client of the benches runs, once, not how fast.
bench-smoke: $(VENV)/.installed
	$(BIN)/python bench/codec/run.py --rounds 1 --only 'snappy stream'
	$(BIN)/python bench/transfer/run.py --rounds 1 'snappy 4 MiB'
	$(BIN)/python bench/transfer/bytecodes.py --blocks 100 --top 3
	$(BIN)/python -m bench.networks.run --quick

fuzz: $(VENV)/.fuzz
	$(MAKE) -j2 fuzz-c fuzz-keys fuzz-http SECONDS=$(SECONDS)
	$(BIN)/python csrc/fuzz/differential.py

# Two of the seven at a time, so that no processor idles while the last one runs.
fuzz-keys: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz.key_unwrap build/fuzz/key_unwrap -max_total_time=$(SECONDS) -verbosity=0 -print_final_stats=1

fuzz-http: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz.http_response build/fuzz/http_response -max_total_time=$(SECONDS) -verbosity=0 -print_final_stats=1

# The seed is the time's, unless one is given. A failure prints how to run its case again.
SEED ?= $(shell date +%s)
schedules-http: $(VENV)/.installed
	$(BIN)/python -m tests.schedules_http.night --minutes $(MINUTES) --seed $(SEED)

fuzz-c: $(VENV)/.fuzz
	$(MAKE) -C csrc fuzz SECONDS=$(SECONDS)

soak: $(VENV)/.installed
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES)
	$(BIN)/python -m tests.faults.soak_mirror --minutes $(MINUTES)

schedules: $(VENV)/.installed
	$(BIN)/python -m tests.schedules --minutes $(MINUTES)

simulate: $(VENV)/.installed
	$(BIN)/python -m tests.simulation --minutes $(MINUTES)

# It ends at the first piece that is wrong. The same SEED on the same commit continues.
HISTORIES ?= 10000
mirror-histories: $(VENV)/.installed
	$(BIN)/python -m tests.faults.mirror_night --histories $(HISTORIES) --seed $(SEED)

mutants: $(VENV)/.installed
	$(BIN)/python -m tests.schedules --mutants
	$(BIN)/python -m tests.simulation --mutants

wheel: $(VENV)/.system
	PYTHON=$(PYTHON) wheels/make-wheel.sh

clean:
	rm -rf $(VENV) build dist .demo *.egg-info ctera_direct_sync/codec/_native.*
	$(MAKE) -C csrc clean

# The headers that the native codec is built with, by apt-get where that is possible.
$(VENV)/.system: apt-packages.txt tools/system-packages.sh
	tools/system-packages.sh apt-packages.txt
	@mkdir -p $(VENV) && touch $@

# Built in place, so that the tree is what runs; again whenever the C or the metadata changes.
# The demo needs no more than this. What the tests need takes minutes to install.
$(VENV)/.built: $(VENV)/.system pyproject.toml setup.py $(wildcard csrc/*.[ch] csrc/*.cdef csrc/ffi_build.py)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[emulator]'
	@touch $@

$(VENV)/.installed: $(VENV)/.built
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,typing,integrations]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@
