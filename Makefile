# Every target sets up what it needs by itself. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-latest test-upstream lint bench docs lock clean

# An environment that has detectron2 already (PYTHON=..., an active venv or conda, python3) is used as it is; otherwise .venv.
PY := $(shell PYTHON="$(PYTHON)" OWN_VENV="$(OWN_VENV)" bash requirements/select_python.sh)

# The suite runs in so many processes, where pytest-xdist is there; 0: in one, in the order of the files.
PROCESSES ?= 2
SIDE_BY_SIDE = $$("$(PY)" -c "import xdist" 2> /dev/null && echo "-n $(PROCESSES)")

# Tests run beside other things: OpenMP threads that wait must sleep at once.
test test-latest test-upstream: export OMP_WAIT_POLICY ?= passive
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

help:
	@echo "make demo    the shipped weights read sample pictures, two minutes of distillation, a table"
	@echo "make test    the test suite (make test ARGS='-m slow' for the slow ones)"
	@echo "make test-latest    the same on the newest torch and torchvision instead of the locked versions, in .venv-latest"
	@echo "make test-upstream  the same on detectron2 compiled from its repository's head (DETECTRON2=: a checkout or what pip takes)"
	@echo "make lint    ruff (rules and format) and mypy"
	@echo "make docs    the documentation as a site in site/ (in .venv-docs; a broken link is an error)"
	@echo "make bench   measure speed on this machine"
	@echo "make setup   only set up .venv        make clean   remove .venv and caches"
	@echo "make lock    make the lock again from setup.py and requirements/lock.in"
	@echo "PYTHON=/path/to/python: that interpreter; OWN_VENV=1: .venv even where detectron2 is found elsewhere"

setup:
	@bash requirements/setup_env.sh "$(PY)" $(or $(MAKECMDGOALS),setup)

demo: setup
	"$(PY)" projects/DLD/tools/run_demo.py $(ARGS)

test: setup
	"$(PY)" -m pytest -q --durations=15 $(SIDE_BY_SIDE) $(ARGS)

# the suite in environments of its own: with the newest torch, torchvision and everything else that setup.py allows, and with
# the locked ones and upstream's detectron2
test-latest test-upstream: test-%:
	@bash requirements/setup_env.sh "$(CURDIR)/.venv-$*/bin/python" --$*
	"$(CURDIR)/.venv-$*/bin/python" -m dld.utils.collect_env
	"$(CURDIR)/.venv-$*/bin/python" -m pytest -q --durations=15 -n $(PROCESSES) $(ARGS)

lint: setup
	"$(PY)" -m ruff check .
	"$(PY)" -m ruff format --check .
	"$(PY)" -m mypy

bench: setup
	"$(PY)" projects/DLD/tools/benchmark.py $(ARGS)

# the site needs neither torch nor dld: DOCS_PY is any Python that has requirements/docs.txt
DOCS_PY ?= .venv-docs/bin/python

docs: $(if $(filter .venv-docs/bin/python,$(DOCS_PY)),.venv-docs/ready)
	"$(DOCS_PY)" -m mkdocs build --strict $(ARGS)

.venv-docs/ready: requirements/docs.txt
	python3 -m venv --clear .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/docs.txt
	touch $@

lock: setup
	"$(PY)" -m uv pip compile setup.py requirements/lock.in --extra test --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet \
	    --output-file requirements/lock-linux-x86_64.txt

clean:
	rm -rf .venv .venv-latest .venv-upstream .venv-docs site build dist dld.egg-info .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
