# make run     tunes a prompt for the embedded model, then the model, and compares them
# make test    the quick tests            make slow    the slow tests
# make lint    rules, format and types    make wheel   builds, installs, tests the wheel
# make docs    the documentation as a site, in build/site
# make pocket  pre-trains the embedded models from nothing: takes hours
# make clean   removes what make made, except your runs/
#
# Everything is installed into .venv; `make PYTHON=python3.12 run` chooses the Python.

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin

# The commands of `make run`, as you would type them.
PROMPT_TUNING = $(BIN)/prompt-tuning train --gin_file=gin/runs/prompt_tune.gin \
  --gin.MODEL_DIR=runs/cb_prompt
MODEL_TUNING = $(BIN)/prompt-tuning train --gin_file=gin/runs/model_tuning.gin \
  --gin.MODEL_DIR=runs/cb_model
COMPARISON = $(BIN)/prompt-tuning compare runs/cb_prompt runs/cb_model \
  --output=runs/comparison

# Keep bytecode in .venv even if the environment says not to: compiling what TensorFlow
# imports takes ten seconds at every start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test slow lint wheel docs pocket clean

run: $(VENV)/run.done
	$(PROMPT_TUNING)
	$(MODEL_TUNING)
	$(COMPARISON)

# Two processes, each on one file at a time, so that what its tests share is made once.
test: $(VENV)/test.done
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

slow: $(VENV)/test.done
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

wheel: $(VENV)/test.done
	$(BIN)/python scripts/check_wheel.py

# A warning is an error: a link that leads nowhere, a page that no other names.
docs: $(VENV)/docs.done
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -c docs . build/site
	@echo "build/site/docs/index.html"

pocket: $(VENV)/run.done
	PYTHONPATH=. $(BIN)/python scripts/pocket_models.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Installs again when setup.py changes. Debian's Python may lack ensurepip; then its own
# pip installs one into .venv. --no-compile: most of TensorFlow is never imported.
$(VENV)/test.done: EXTRAS = [test,lint]
$(VENV)/docs.done: EXTRAS = [docs]
$(VENV)/run.done $(VENV)/test.done $(VENV)/docs.done: setup.py
	@echo "Installing prompt-tuning$(EXTRAS) into $(VENV): takes some minutes the first time"
	@$(PYTHON) -m venv $(VENV) >/dev/null || { \
	  $(PYTHON) -m venv --without-pip $(VENV) && \
	  $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	  --use-pep517 --editable ".$(EXTRAS)"
	@touch $@
