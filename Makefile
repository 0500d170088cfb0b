# Everything installs itself into .venv and .engine; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest
NEXTFLOW := tools/nextflow

# what `make notebook` reads (files or patterns, a colon between them) and where it writes
RESULTS ?= demo/results/*/*.h5
OUT ?= demo/notebook

.PHONY: help demo notebook test test-quick test-sites check docs format bench browser clean

help:
	@echo "make demo        the whole pipeline on real phage sequences, tiny random models, CPU"
	@echo "make notebook    a map, neighbours and clusters of the demo's vectors, in demo/notebook"
	@echo "make test        every test that needs no GPU"
	@echo "make test-quick  the tests that do not start Nextflow"
	@echo "make test-sites  the pipeline on a real Slurm and in real containers, results in R (root on Debian)"
	@echo "make check       lint, types, architecture, lint of the pipeline"
	@echo "make docs        the table of parameters in README.md, from nextflow_schema.json"
	@echo "make browser     install chromium (root, Debian), for the tests of the report"
	@echo "make bench       the benchmarks that need no GPU"
	@echo "make clean       remove what make has made"

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "ERROR $(PYTHON) is older than 3.10. Call make with PYTHON=/path/to/a/newer/python3."; exit 2; }
	$(PYTHON) -m venv .venv

# the pipeline and its engine
.venv/run.stamp: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "Installing virembed into .venv (torch is large: a few minutes)"
	$(PIP_INSTALL) --editable '.[engine]'
	@touch $@

# what tests and checks need besides
.venv/dev.stamp: .venv/run.stamp
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

# an old anndata, beside the newest in .venv: results have to open in both
.venv-anndata-0.10/stamp: .venv/pyvenv.cfg tests/result/anndata-0.10.txt
	$(PYTHON) -m venv .venv-anndata-0.10
	.venv-anndata-0.10/bin/python -m pip install --quiet --disable-pip-version-check -r tests/result/anndata-0.10.txt
	@touch $@

# MultiQC, whose dependencies would change those of .venv
.venv-multiqc/stamp: .venv/pyvenv.cfg tests/report/multiqc.txt
	@echo "Installing MultiQC into .venv-multiqc (1.1 GB, about a minute)"
	$(PYTHON) -m venv .venv-multiqc
	.venv-multiqc/bin/python -m pip install --quiet --disable-pip-version-check -r tests/report/multiqc.txt
	@touch $@

# scanpy and what it needs, in versions that work together, for the notebook
.venv-notebook/stamp: .venv/pyvenv.cfg docs/notebook/requirements.txt
	@echo "Installing scanpy, FAISS and Jupyter into .venv-notebook (1.2 GB, about a minute)"
	$(PYTHON) -m venv .venv-notebook
	.venv-notebook/bin/python -m pip install --quiet --disable-pip-version-check -r docs/notebook/requirements.txt
	@touch $@

demo: .venv/run.stamp
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/demo

# from standard input, so that the paths in RESULTS are those of this directory
notebook: .venv-notebook/stamp
	@mkdir -p "$(OUT)"
	@VIREMBED_RESULTS="$(RESULTS)" VIREMBED_FIGURES="$(OUT)" .venv-notebook/bin/jupyter nbconvert --log-level ERROR --KernelManager.transport=ipc \
		--execute --to html --stdin --output explore --output-dir "$(OUT)" <docs/notebook/explore.ipynb
	@echo "Open $(abspath $(OUT))/explore.html in a browser; its figures and tables are beside it."

# the only target that installs something outside of this directory: `make test` does so in CI only,
# elsewhere the tests that need a browser are skipped where there is none
browser:
	@command -v chromium >/dev/null || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
		echo "No chromium could be installed: the tests of the report in a browser are skipped"

# quick tests side by side; each Nextflow uses all cores by itself
# with CI=1 also what needs a browser and environments of a gigabyte; skipped otherwise
test: .venv/dev.stamp .venv-anndata-0.10/stamp $(if $(CI),browser .venv-multiqc/stamp .venv-notebook/stamp)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTEST) -m "not pipeline and not site" -n auto
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTEST) -m pipeline

# skipped where they cannot install what they need
test-sites: .venv/dev.stamp
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTEST) -m site

test-quick: .venv/dev.stamp
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTEST) -m "not pipeline and not site" -n auto

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tools/nextflow
	$(BIN)/mypy tools/parameters
	$(BIN)/python tools/parameters --check
	$(BIN)/lint-imports
	$(NEXTFLOW) lint main.nf nextflow.config workflows modules conf

docs:
	$(PYTHON) tools/parameters

format: .venv/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev.stamp
	$(BIN)/python benchmarks/split.py

clean:
	rm -rf .venv .venv-anndata-0.10 .venv-multiqc .venv-notebook .engine demo build .mypy_cache .ruff_cache .pytest_cache
