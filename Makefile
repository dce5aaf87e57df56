# `make quickstart` and `make test` do everything from a fresh clone; CI runs `make check` first and `make test-long` last.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile
# `--cov` measures what the quick tests reach and fails where it is less than before; CI does.
COVERAGE ?=
# The last is followed by the extras; without the plain one before it, pip would look for focusvla on the index.
SOURCES = -e packages/focusvla-client -e . -e packages/focusvla-libero -e

.PHONY: quickstart test test-long test-floors check docs install format

quickstart: $(VENV)/runtime.installed
	$(BIN)/focusvla quickstart

test: $(VENV)/dev.installed
	$(PYTEST) $(COVERAGE) --jaxtyping-packages=focusvla,beartype.beartype -m "not simulator and not slow and not long and not lerobot and not vla_eval"
	$(PYTEST) -m "(simulator or slow) and not long and not lerobot and not vla_eval"

# These wait for servers, kills and each other's processes, so one more of them than there are cores.
test-long: $(VENV)/dev.installed
	$(PYTEST) --numprocesses $$(($$(nproc) + 1)) --dist worksteal -m "long and not lerobot and not vla_eval"

# The lowest versions that pyproject.toml promises, in an environment of their own (several GB: their torch has no build
# for CPUs alone on the package index).
test-floors: $(VENV)/dev.installed
	$(PYTHON) -m venv $(VENV)-floors
	$(BIN)/python tests/environments/floors.py > $(VENV)-floors/floors.txt
	$(VENV)-floors/bin/python -m pip install --quiet --constraint $(VENV)-floors/floors.txt $(SOURCES) ".[libero,mini,hdf5,rlds]" \
	  pytest pytest-xdist hypothesis tensorboard
	$(VENV)-floors/bin/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile -W default \
	  -m "not simulator and not slow and not long and not lerobot and not vla_eval"

check: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/typos
	$(BIN)/vermin --quiet --eval-annotations --backport typing --target=3.8- --violations packages/focusvla-client/src
	$(BIN)/vermin --quiet --eval-annotations --backport typing --target=3.9- --violations integrations/realman
	$(BIN)/vermin --quiet --eval-annotations --backport typing --target=3.10- --violations integrations/robotwin
	$(BIN)/pyright --threads --pythonpath $(BIN)/python
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --site-dir $(VENV)/site

docs: $(VENV)/dev.installed
	$(BIN)/mkdocs serve

format: $(VENV)/dev.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/runtime.installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.installed: pyproject.toml packages/focusvla-client/pyproject.toml packages/focusvla-libero/pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(SOURCES) ".[libero,mini]"
	@touch $@

$(VENV)/dev.installed: $(VENV)/runtime.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(SOURCES) ".[libero,aloha,ray,mini,dev]"
	$(BIN)/python -m pip install --quiet --no-deps metaworld==3.1.1  # whose pin of MuJoCo is not the others'
	@touch $@
