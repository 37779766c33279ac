# `make help` lists what there is; everything runs in a virtual environment in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q -q
DEMO ?= demo

.PHONY: help install test lint format demo clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 15

install: .venv/.installed ## install GLIDE-Reg and what it needs into .venv

.venv/.installed: pyproject.toml constraints.txt requirements-sam2.txt
	@echo "Installing into .venv; the first time this takes some minutes."
	@$(PYTHON) -m venv .venv
	@$(PIP) install -c constraints.txt setuptools wheel
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[test]'
	@SAM2_BUILD_CUDA=0 $(PIP) install --no-build-isolation --no-deps --require-hashes -r requirements-sam2.txt
	@touch $@

test: lint ## check the style and run all tests
	@$(BIN)/python -m pytest -q

lint: install ## check the style
	@$(BIN)/ruff check --quiet .

format: install ## put all files into the house's style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

demo: install ## register a phantom with known truth into the folder demo (make demo DEMO=folder)
	@$(BIN)/glidereg demo -o $(DEMO) --download-weights

clean: ## remove .venv, the demo's folder and everything else that is made
	@rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache $(DEMO)
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
