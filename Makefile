PYTHON ?= python3
MNIST := data/mnist
QUICK := work_dirs/quickstart
QUICK_CONFIG := configs/dcn/dcn-k8-hint_1xb128-4e_cluttered-mnist.py
QUICK_CHECKPOINT := $(QUICK)/epoch_4.pth
MODELS := $(foreach model,coarse fine,configs/dcn/$(model)_1xb128-60e_cluttered-mnist.py) $(QUICK_CONFIG)

STREET := data/street-numbers
STREET_TOWERS := $(foreach tower,coarse-w25_1xb32-10e fine-w25_1xb32-5e,work_dirs/$(tower)_street-numbers/.trained)

LARGE := data/large-images
LARGE_CONFIGS := $(foreach model,dcn-k10_1xb16 downsampled_1xb16,configs/dcn/$(model)-8e_large-images.py)
LARGE_FINE := fine_1xb64-2e_small-digits
LARGE_SCENES := dcn-k3_1xb32-6e_small-scenes
LARGE_RUNS := $(foreach config,$(LARGE_CONFIGS),work_dirs/$(basename $(notdir $(config)))/.trained)

PY := .venv/bin/python
# Threads that wait sleep: on a machine with other work, spinning costs a multiple.
PY_BUSY := OMP_WAIT_POLICY=PASSIVE $(PY)
REQUIREMENTS := $(wildcard requirements/*.txt)

.DEFAULT_GOAL := help
.PHONY: help setup data quickstart street-numbers large-images lint check test docs matrix demo demo-test clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.complete  ## make .venv with everything that mmdcn needs

.venv/.complete: $(REQUIREMENTS) pyproject.toml setup.py
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check uv
	$(PY) -m uv pip install --compile-bytecode --python $(PY) $(addprefix -r ,$(REQUIREMENTS)) -e .
	touch $@

data: setup  ## put MNIST into data/mnist
	$(PY) tools/dataset_converters/prepare_mnist.py --out $(MNIST)

quickstart: $(QUICK)/metrics.json  ## train a small-budget DCN, test it, print a table, draw a picture
	$(PY_BUSY) tools/visualizations/draw_patches.py $(QUICK_CONFIG) $(QUICK_CHECKPOINT) --out $(QUICK)/patches.png
	$(PY) tools/analysis_tools/benchmark.py $(MODELS) --batch-sizes 1 64 --metrics dcn-k8-hint=$(QUICK)/metrics.json

$(QUICK)/metrics.json: $(QUICK)/.trained
	$(PY_BUSY) tools/test.py $(QUICK_CONFIG) $(QUICK_CHECKPOINT) --work-dir $(QUICK)/test --out $@ --out-item metrics

$(QUICK)/.trained: | data
	$(PY_BUSY) tools/train.py $(QUICK_CONFIG) --work-dir $(QUICK) --resume
	touch $@

street-numbers: $(STREET_TOWERS)  ## train small towers on synthetic house numbers, print Table 2
	SVHN_ROOT=$(STREET) $(PY_BUSY) tools/analysis_tools/table2.py --width w25

work_dirs/%_street-numbers/.trained: | street-number-images
	SVHN_ROOT=$(STREET) $(PY_BUSY) tools/train.py configs/dcn/$*_svhn.py --resume
	touch $@

.PHONY: street-number-images
street-number-images: setup
	$(PY) tools/dataset_converters/make_street_numbers.py --out $(STREET) --train 20000 --extra 10000 --test 1000

large-images: $(LARGE_RUNS)  ## write TIFFs of up to 64 megapixels, train from them, print what was read
	LARGE_IMAGES_ROOT=$(LARGE) $(PY_BUSY) tools/analysis_tools/files_read.py $(LARGE_CONFIGS) --out work_dirs/large_images.json

work_dirs/dcn-k10_1xb16-8e_large-images/.trained: work_dirs/$(LARGE_SCENES)/.trained
work_dirs/%_large-images/.trained: | large-image-files
	LARGE_IMAGES_ROOT=$(LARGE) $(PY_BUSY) tools/train.py configs/dcn/$*_large-images.py --resume
	touch $@

work_dirs/$(LARGE_SCENES)/.trained: work_dirs/$(LARGE_FINE)/.trained
work_dirs/%_small-scenes/.trained work_dirs/%_small-digits/.trained: | data
	$(PY_BUSY) tools/train.py configs/dcn/$(notdir $(@D)).py --resume
	touch $@

.PHONY: large-image-files
large-image-files: data
	$(PY) tools/dataset_converters/make_large_images.py --out $(LARGE) --data-root $(MNIST) --train 1200

# A process a CPU, each with one thread: small operators gain nothing from more. A file's tests
# stay in one process, which makes what they share once.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest tests -n auto --dist loadfile --no-loadscope-reorder --durations=20

lint: setup  ## style, docstrings and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

check: lint data  ## what one runs while writing: lint, types, unit tests
	$(PYTEST) -m 'not integration'

test: lint data  ## pass all tests
	$(PYTEST)

docs: setup  ## build the site into build/site
	rm -rf docs/api
	$(PY) -m sphinx -q -W --keep-going -c docs . build/site

# Other versions of Python and of OpenMMLab's packages.
matrix-%: VERSION = $*
matrix-%: PACKAGES = -r requirements/mminstall.txt
matrix-onedl matrix-mmcv: VERSION = 3.11
matrix-onedl: PACKAGES = onedl-mmengine==0.10.12 onedl-mmpretrain==1.3.6 onedl-mmcv==2.3.6
# With its compiled operators, built here with the torch that is there by then: that takes long.
matrix-mmcv: PACKAGES = mmengine==0.10.7 mmpretrain==1.2.0 mmcv==2.2.0 --no-build-isolation
COMBINATIONS := $(addprefix matrix-,python3.10 python3.12 python3.13 onedl mmcv)
TOUCHING := $(addprefix tests/,models engine evaluation utils apis test_registry.py test_configs.py tools/test_train.py)

matrix: $(COMBINATIONS)  ## pass the tests that touch other packages, with other versions of these

matrix-%: data
	$(PY) -m uv venv --quiet --allow-existing --python $(VERSION) .venv/$@
	$(PY) -m uv pip install --python .venv/$@ $(addprefix -r ,$(filter-out %mminstall.txt,$(REQUIREMENTS))) 'setuptools<82' ninja
	$(PY) -m uv pip install --python .venv/$@ $(PACKAGES)
	OMP_NUM_THREADS=1 PYTHONPATH=. .venv/$@/bin/python -m pytest -p no:cacheprovider -n auto --dist loadfile $(TOUCHING)

demo: setup  ## show where a trained DCN looks, on a page in the browser
	$(PY) tools/demo_app.py

demo-test: data  ## use that page in headless Chromium (apt-get install chromium chromium-driver)
	$(PY_BUSY) tests/demo/in_chromium.py

clean:  ## remove .venv and what quickstart made; data stays
	rm -rf .venv $(QUICK)
