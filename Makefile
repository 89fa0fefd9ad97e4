# Two commands, each with all the set-up it needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := $(VENV)/oldest/bin
# Not quiet: it shows what it downloads, which takes minutes the first time.
PIP := $(BIN)/pip install --disable-pip-version-check
# A CPU build of torch, which only the tests need; later versions bring gigabytes of CUDA.
TORCH ?= torch==2.13.0
# A file's tests share what takes long to make, so a file stays on one core.
# What TensorFlow prints as it crashes reaches the log with --capture=sys.
PYTEST := $(BIN)/pytest -q -n 2 --dist loadfile --capture=sys
OTHER_BACKENDS := -m "not slow and not network and not any_backend" tests/layers tests/models tests/pretraining tests/training tests/evaluation tests/runtime tests/serving/test_model_service.py tests/faults tests/zoo/test_rebuild.py tests/zoo/test_embedded_weights.py \
	tests/weights/test_verify.py tests/weights/test_loading.py tests/tuning/workers/test_trial_training.py \
	tests/zoo/test_from_preset.py::test_a_small_preset_runs_forward_and_backward
# A conversion runs in a process of TensorFlow, whatever the backend: one other is enough.
CONVERSION := tests/exporting/test_litert.py::test_it_runs_in_its_own_runtime_for_every_batch_size_and_says_what_it_is

# The tests start several hundred Python processes: each would compile the package again where this is set.
export PYTHONDONTWRITEBYTECODE :=
# Numbers in tests are few: threads of BLAS that wait for each other cost L-BFGS twenty times its own time.
export OPENBLAS_NUM_THREADS := 1
# On JAX most of the time is compilation of programs that run once: they are compiled in less time, and run slower. Many models of tests
# are alike: a program is kept for the tests and processes that need it again.
COMPILED := $(CURDIR)/$(VENV)/.jax
JAX_PROGRAMS := JAX_DISABLE_MOST_OPTIMIZATIONS=1 JAX_COMPILATION_CACHE_DIR=$(COMPILED) \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
JAX := KERAS_BACKEND=jax $(JAX_PROGRAMS)

# What touches every library once: the README's program, data, export, tuning, the command line.
SMOKE_TESTS := tests/test_readme.py tests/runtime/test_private_members.py tests/data/sources/test_tfds.py tests/exporting/test_litert.py \
	tests/tuning/test_tuner.py tests/cli/test_help.py tests/cli/commands/test_info.py

.PHONY: demo docs test test-slow test-oldest release-check check lint clean

# Trains from scratch, then fine-tunes the weights in the package: on a few handwritten digits, or on your own images with `make demo DATA=FOLDER`.
DATA ?= digits --limit 200
demo: $(VENV)/.demo
	$(BIN)/vit-keras train
	$(BIN)/vit-keras finetune vit_nano_conv8_32:drawings $(DATA)

test: $(VENV)/.dev
	KERAS_BACKEND=tensorflow $(PYTEST)
	rm -rf $(COMPILED)
	$(JAX) $(PYTEST) $(OTHER_BACKENDS)
	KERAS_BACKEND=torch $(PYTEST) $(OTHER_BACKENDS) $(CONVERSION)

test-slow: $(VENV)/.dev
	$(JAX_PROGRAMS) KERAS_BACKEND=tensorflow $(PYTEST) -m "slow and not network" tests
	$(JAX) $(PYTEST) -m "slow and not network" tests/tuning/test_stock_tuners.py tests/distributed/test_training.py tests/models/test_reliable_loops.py

# With the oldest versions that pyproject.toml allows, in an environment of their own; `make test` has the newest.
test-oldest: $(VENV)/.oldest
	KERAS_BACKEND=tensorflow $(OLDEST)/pytest -q -o filterwarnings=default -p no:warnings $(SMOKE_TESTS)
	KERAS_BACKEND=jax $(OLDEST)/pytest -q -o filterwarnings=default -p no:warnings tests/test_readme.py tests/runtime/test_private_members.py

# A release as users get it: wheel and sdist built, installed away from the repository, and used as the README says; ten minutes.
release-check: $(VENV)/.dev
	KERAS_BACKEND=tensorflow $(PYTEST) -m "slow or network" tests/test_packaging.py tests/test_type_checkers.py tests/test_release.py

# Writes the site to site/; its tutorials run. Needs no network but for the installation.
docs: $(VENV)/.docs
	KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES= $(BIN)/sphinx-build -q -W --keep-going -b html docs site
	@echo "open site/index.html; site/report.txt has external links and readability"

# What to run while working: the linters, and the tests of the files that differ from the last commit.
check: lint
	$(BIN)/python scripts/changed_tests.py | KERAS_BACKEND=tensorflow xargs --no-run-if-empty $(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

clean:
	rm -rf $(VENV)

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON to one. This is " + sys.version)'
	@echo "creating the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml
	@echo "installing vit-keras-zoo into $(VENV), a minute or two the first time"
	$(PIP) --editable .
	@touch $@

$(VENV)/.docs: $(VENV)/.demo
	$(PIP) --editable '.[docs,export]'
	@touch $@

$(VENV)/.oldest: $(VENV)/.created pyproject.toml
	$(PYTHON) -m venv $(VENV)/oldest
	$(PYTHON) scripts/oldest_versions.py > $(VENV)/oldest/constraints.txt
	$(OLDEST)/pip install --quiet --disable-pip-version-check --constraint $(VENV)/oldest/constraints.txt --editable '.[export,heic,hub,jax]' pytest
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) '$(TORCH)'
	$(PIP) --editable '.[dev,docs]'
	@touch $@
