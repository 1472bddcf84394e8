PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

TOOLS := .venv-tools
TOOLS_STAMP := $(TOOLS)/.ready
UPGRADE ?=
COMPILE = $(TOOLS)/bin/uv pip compile --quiet --universal --python-version=3.11 --fork-strategy=fewest \
  --generate-hashes --no-emit-index-url --no-header --no-annotate --strip-extras $(UPGRADE)

SOAK_FILES = $(sort $(shell grep -rlw --include='test_*.py' effort tests))
SOAK_TIMEOUT ?= 86400
SOAK_MINUTES ?= 30

TESTS ?=

INPUTS ?= 10000000
JOBS ?= 2
SANITIZED ?= 200000
FUZZ = fuzz$(if $(GUIDED),_guided).py --inputs $(INPUTS) $(if $(SEED),--seed $(SEED)) $(addprefix --target ,$(TARGET)) \
  $(if $(GUIDED),,--jobs $(JOBS))

.PHONY: run test check bench micro compare record soak fuzz lock audit

run: $(STAMP)
	$(BIN)/ingestd serve --data data

test: $(STAMP)
	$(BIN)/python -m pytest $(TESTS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m bench

micro: $(STAMP)
	$(BIN)/python -m pytest bench/micro --benchmark-only --benchmark-columns=median,iqr,min,max,rounds

compare: $(STAMP)
	$(BIN)/python -m bench.compare

record: $(STAMP)
	$(BIN)/python -m bench.record

soak: $(STAMP)
	failed=; $(BIN)/python -m bench.soak --minutes $(SOAK_MINUTES) || failed=" bench.soak"; \
	for file in $(SOAK_FILES); do \
	  INGESTD_SOAK=1 $(BIN)/python -m pytest --timeout=$(SOAK_TIMEOUT) $$file || failed="$$failed $$file"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

fuzz: $(STAMP)
	$(BIN)/python tests/fuzz/$(FUZZ)
	$(if $(GUIDED)$(TARGET),,$(BIN)/python tests/fuzz/fuzz_sanitized.py --inputs $(SANITIZED) $(if $(SEED),--seed $(SEED)))

lock: $(TOOLS_STAMP)
	$(COMPILE) --all-extras --output-file=requirements/dev.txt pyproject.toml requirements/build.in
	$(COMPILE) --constraint=requirements/dev.txt --output-file=requirements/run.txt pyproject.toml
	$(COMPILE) --constraint=requirements/dev.txt --output-file=requirements/build.txt requirements/build.in
	$(COMPILE) --output-file=requirements/tools.txt requirements/tools.in

audit: $(TOOLS_STAMP)
	$(TOOLS)/bin/python requirements/audit.py requirements/dev.txt requirements/tools.txt

$(STAMP): pyproject.toml setup.py requirements/build.txt requirements/dev.txt $(wildcard ingestd/_speed/*.p[xy][xd])
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/build.txt
	$(BIN)/python -m pip install --quiet --require-hashes --no-build-isolation --requirement requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(TOOLS_STAMP): requirements/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --require-hashes --requirement requirements/tools.txt
	touch $@
