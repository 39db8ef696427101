# `make demo` and `make test` do all their own set-up, in .venv (or in the environment that VENV names).
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
OUT ?= runs/demo
# Test processes at a time; each takes up to 2 GB, and one thread.
JOBS ?= 2
# Where it is set, as in many containers, every process would compile thousands of modules anew when it imports torch.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test coverage test-slow test-peers test-browser test-docs lint benchmarks docs clean

demo: $(VENV)/.installed-demo
	$(BIN)/crossdistill demo --out $(OUT)

test: $(VENV)/.installed-dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --no-cov -n $(JOBS) --dist loadfile -m "not slow and not peers and not browser and not docs"

coverage: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and not peers and not browser and not docs"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

test-peers: $(VENV)/.installed-peers
	$(BIN)/python -m pytest -m peers --no-cov

test-browser: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m browser --no-cov

test-docs: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m docs --no-cov

docs: $(VENV)/.installed-dev
	$(BIN)/python -m mkdocs build --strict

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmarks: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.emoji
	$(BIN)/python -m benchmarks.objectives
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.theory --quick

$(VENV)/.installed-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[$*]'  # most of torch is never imported
	touch $@

clean:
	rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache .coverage
