# `make help` lists what there is; everything runs in virtual environments in .venv and .venv-next.
PYTHON ?= python3
BIN := .venv/bin
NEXT := .venv-next/bin
PIP := python -m pip --disable-pip-version-check -q -q
DEMO ?= demo
# What Qt and off-screen drawing need of a Debian system; other systems have it, or those tests skip.
LIBRARIES := libegl1 libgl1 libgl1-mesa-dri libopengl0 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0 fonts-dejavu-core
SLICER_NEXT := 5.13.31053.0
# Each process holds a Slicer and the engine, up to 2 GB.
PYTEST := python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

.PHONY: help install libraries test kernels validators lint format demo screenshots peers benchmark bench clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 19

install: .venv/.installed ## install GLIDE-Reg and all that its tests need into .venv

# What the demo needs; the tests add to it.
.venv/.demo: pyproject.toml constraints.txt requirements-sam2.txt
	@echo "Installing into .venv; the first time this takes some minutes."
	@$(PYTHON) -m venv .venv
	@$(BIN)/$(PIP) install -c constraints.txt setuptools wheel
	@$(BIN)/$(PIP) install -c constraints.txt --no-build-isolation -e '.[demo]'
	@SAM2_BUILD_CUDA=0 $(BIN)/$(PIP) install --no-build-isolation --no-deps --require-hashes -r requirements-sam2.txt
	@touch $@

.venv/.installed: .venv/.demo
	@$(BIN)/$(PIP) install -c constraints.txt --no-build-isolation -e '.[test]'
	@touch $@

# A second Slicer, without torch: what Slicer itself runs must not need it.
.venv-next/.installed: Makefile constraints.txt
	@$(PYTHON) -m venv .venv-next
	@grep -v -e '^slicer-core' -e '^vtk' constraints.txt > .venv-next/constraints.txt
	@$(NEXT)/$(PIP) install -c .venv-next/constraints.txt \
		slicer-core==$(SLICER_NEXT) PySide6-Essentials numpy scipy SimpleITK pytest pytest-xdist
	@touch $@

libraries:
	@if command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ] && ! dpkg -s $(LIBRARIES) > /dev/null 2>&1; then \
		apt-get update -qq > /dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(LIBRARIES) > /dev/null \
		|| echo "The system libraries could not be installed; tests that draw are skipped."; fi

# One thread a process: those of several would wait for each other.
test: export OMP_NUM_THREADS = 1
test: export NUMBA_NUM_THREADS = 1
test: export ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS = 1
test: lint libraries kernels .venv-next/.installed ## check the style and run all tests, those of the module with two Slicers
	@$(BIN)/$(PYTEST)
	@GLIDEREG_PYTHON=$(CURDIR)/$(BIN)/python $(NEXT)/$(PYTEST) -m "not once" Testing/host Testing/scene Testing/panel

# Once, before the processes of the tests would each do it.
kernels: install
	@$(BIN)/python -c 'from GLIDERegLib.registration.backends import prepare_kernels; prepare_kernels().wait()'

# pydicomrt is pure Python; what it asks for beyond what is here (OpenCV) its registration part does not use.
# highdicom writes segmentations.
validators: install ## check DICOM objects with dciodvfy and dcentvfy (dicom3tools) and a second reader (pydicomrt)
	@$(BIN)/$(PIP) install -c constraints.txt --no-deps pydicomrt
	@$(BIN)/$(PIP) install -c constraints.txt --no-build-isolation -e '.[dicom]'
	@if command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ] && ! command -v dciodvfy > /dev/null; then \
		apt-get update -qq > /dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq dicom3tools > /dev/null; fi
	@$(BIN)/python -m pytest -q Testing/files/test_dicom_registration.py Testing/files/test_dicom_contours.py \
		Testing/files/test_dicom_measurements.py Testing/files/test_dicom_odd_studies.py \
		Testing/panel/test_qa_contours.py

lint: install ## check the style, and the types of all but scene, panel and studies
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

format: install ## put all files into the house's style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

demo: .venv/.demo libraries ## register a generated pair in a Slicer scene, into the folder demo (make demo DEMO=folder)
	@$(BIN)/python Testing/tools/demo.py $(DEMO)

screenshots: .venv/.demo libraries ## draw the pictures of the README again
	@$(BIN)/python Testing/tools/screenshots.py Resources/Screenshots

# The methods to compare with, each as its users get it; their pins clash with ours.
peers: .venv-peers/.installed ## install the methods to compare with into .venv-peers

.venv-peers/.installed: GLIDERegLib/studies/peers/requirements.txt
	@echo "Installing into .venv-peers; the first time this takes some minutes."
	@$(PYTHON) -m venv .venv-peers
	@CMAKE_POLICY_VERSION_MINIMUM=3.5 .venv-peers/bin/$(PIP) install -r $<
	@if command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ] && ! command -v plastimatch > /dev/null; then \
		apt-get update -qq > /dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq plastimatch > /dev/null; fi
	@touch $@

# Stopped, it goes on; BENCHMARK='--families textured --methods greedy,glidereg-default' runs a part.
benchmark: install peers ## compare registration methods, into the folder benchmark; takes hours
	@$(BIN)/python Testing/tools/benchmark.py benchmark $(BENCHMARK)

# With options of one's own (make bench BENCH='--sizes 96,128') the committed figures stay.
bench: install peers ## measure seconds and memory of every stage, into the folder benchmark/speed; half an hour
	@$(BIN)/python Testing/tools/bench.py benchmark/speed $(BENCH)
	@$(if $(BENCH),true,cp benchmark/speed/speed.json benchmark/speed/speed.md Resources/Benchmark)

clean: ## remove the virtual environments, the demo's folder and everything else that is made
	@rm -rf .venv .venv-next .venv-peers benchmark build dist *.egg-info .pytest_cache .ruff_cache $(DEMO)
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
