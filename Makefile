# make demo and make test each do everything on a fresh machine: environment, installation, run.
PYTHON ?= python3
VENV := .venv
CPU ?=  # CPU=1: without CUDA, 5 GB less
CPU_WHEELS := https://download.pytorch.org/whl/cpu
INSTALLED := $(VENV)/.installed

.PHONY: install demo test test-gpu lint docs wheel

install: $(INSTALLED)

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --upgrade pip -c constraints.txt
	$(if $(CPU),$(VENV)/bin/python -m pip install torch torchvision --index-url $(CPU_WHEELS) -c constraints.txt)
	$(VENV)/bin/python -m pip install -e '.[dev,docs]' -c constraints.txt
	touch $@

demo: install
	$(VENV)/bin/python scripts/demo.py

test: install  # a file of tests for each core in turn, eight at most: each process takes about 1.5 GB
	$(VENV)/bin/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test-gpu:  # with PYTHON itself where `make install` was not run, since a machine may bring its own PyTorch
	$(if $(wildcard $(INSTALLED)),$(VENV)/bin/python,$(PYTHON)) -m pytest tests/cuda -m cuda

docs: install  # into site/, to be read without a network
	$(VENV)/bin/mkdocs build --strict

wheel: install  # into dist/, of what is in the checkout alone
	rm -rf build dist
	$(VENV)/bin/python -m pip wheel . --no-deps --no-build-isolation --wheel-dir dist

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pyright
