# Two commands, each with all the set-up it needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CPU build of torch; newer ones bring gigabytes of CUDA. Only the tests need it.
TORCH ?= torch==2.13.0

.PHONY: demo test test-all lint clean

demo: $(VENV)/.demo
	$(BIN)/vit-keras train

test: $(VENV)/.dev
	KERAS_BACKEND=tensorflow $(BIN)/pytest -q
	KERAS_BACKEND=jax $(BIN)/pytest -q tests/layers tests/test_vit.py tests/test_training.py
	KERAS_BACKEND=torch $(BIN)/pytest -q tests/layers tests/test_vit.py tests/test_training.py

test-all: test
	$(BIN)/pytest -q -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV)

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]' '$(TORCH)'
	touch $@
