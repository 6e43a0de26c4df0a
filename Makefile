# The README's commands. Each does all the set-up it needs; see `make help`.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= sim,train,cpu,dev
# pip's words for torch. Without a GPU, the CPU build saves several GB:
#   make setup TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'
TORCH ?= torch==2.13.0
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.vla_nav
# libGL and GLib for OpenCV, EGL for rendering without a display.
LIBRARIES := libegl1 libgl1 libglib2.0-0

define CHECK_PYTHON
import sys
if sys.version_info < (3, 10):
    sys.exit(f'vla_nav needs Python >= 3.10, found {sys.version.split()[0]} ({sys.executable}); '
             'choose another with: make PYTHON=/path/to/python3')
endef

VENV_PACKAGE = import sys; print('python%d.%d-venv' % sys.version_info[:2])

define CHECK_LIBRARIES
import ctypes, runpy
ctypes.CDLL('libGL.so.1'), ctypes.CDLL('libgthread-2.0.so.0')
opengl = runpy.run_path('vla_nav/sim/opengl.py')
assert opengl['egl_works']() or opengl['osmesa_works']()
endef
export CHECK_PYTHON VENV_PACKAGE CHECK_LIBRARIES

.DEFAULT_GOAL := help
.PHONY: help setup system drive test check lint models clean

help:  ## say what there is
	@grep -hE '^[a-z]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 10
	@echo 'Options: ARGS="..." for the verb, PYTHON=, VENV=, EXTRAS=, TORCH= (see the README)'

drive: setup  ## simulate a robot and drive it to an object: make drive ARGS='--seed 3'
	@$(BIN)/vla_nav drive --sim $(ARGS)

test: check  ## the checks and the tests
	$(BIN)/python -m pytest --numprocesses 2 $(ARGS)

check: setup  ## ruff and the import arrow
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

lint: check

models: setup  ## train nano and nano_lora again (half a day on 2 cores; resumable)
	$(BIN)/vla_nav pretrain --out data/nano_vlm
	$(BIN)/vla_nav train --variant frozen_head --backbone data/nano_vlm --out models/nano \
	    --episodes 500 --rounds 2 --round-episodes 300 --resume
	$(BIN)/vla_nav demos --episodes 500 --seed 2000000 --out data/demos
	test -d data/demos_dataset || \
	    $(BIN)/vla_nav dataset data/demos --images png --out data/demos_dataset
	$(BIN)/vla_nav train --variant lora_head --data data/demos_dataset --out models/nano_lora \
	    --backbone models/nano/backbone --share-backbone --resume
	for model in nano nano_lora; do \
	    for level in easy standard hard; do \
	        $(BIN)/vla_nav rollout --model models/$$model --scenes 200 --level $$level --record; \
	    done; \
	    for split in unseen-pairs paraphrases; do \
	        $(BIN)/vla_nav rollout --model models/$$model --scenes 200 --split $$split --record; \
	    done; \
	    $(BIN)/vla_nav rollout --model models/$$model --scenes 200 --swap --record; \
	    $(BIN)/vla_nav rollout --model models/$$model --scenes 200 --swap --blind --record; \
	done

clean:  ## remove the virtual environment, build products and caches
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(STAMP)  ## virtual environment and system libraries (the others begin with it)

$(STAMP): setup.py package.xml requirements.txt constraints.txt
	@$(MAKE) --no-print-directory system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25'  # older versions may never finish resolving
	@command -v nvidia-smi >/dev/null || echo 'No NVIDIA GPU here: should pip now fetch CUDA \
	packages of several GB, stop it and see TORCH in the Makefile.'
	$(BIN)/python -m pip install -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# Installs the system's packages that are missing when it may, otherwise says how to.
system:
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@missing=; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing=$$($(PYTHON) -c "$$VENV_PACKAGE"); \
	$(PYTHON) -c "$$CHECK_LIBRARIES" 2>/dev/null || missing="$$missing $(LIBRARIES)"; \
	[ -n "$$missing" ] || exit 0; \
	install="apt-get install -y --no-install-recommends $$missing"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "$$install"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$install; \
	else \
	    echo 'System libraries are missing. On Debian and Ubuntu install them with'; \
	    echo "    sudo apt-get update && sudo $$install"; \
	    echo 'elsewhere install libGL, GLib 2 and EGL (Mesa or the GPU driver), then try again.'; \
	    exit 1; \
	fi
