# Each target makes .venv when it is missing. A newer Python can be named: make report PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export JUPYTER_PREFER_ENV_PATH = 1

.PHONY: report test lint docs lab bench reference sync clean

report: $(STAMP)  ## the book in the quick profile; ends with the path of index.html
	$(BIN)/musicnb report

test: lint  ## everything, on the twin; tests marked `real` run too where real data is
	$(BIN)/python -m pytest -n auto --dist loadgroup

lint: $(STAMP)  ## format and faults of code and notebooks
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/ruff check --isolated --select F821 musicnb  # names that only a cell without export imports

docs: $(STAMP)  ## the docs site, from the executed notebooks, in site/
	$(BIN)/musicnb report
	$(BIN)/python docs/build.py
	$(BIN)/musicnb report >/dev/null  # nothing runs again: its pages get their links to the site

lab: $(STAMP)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=nbs

bench: $(STAMP)  ## ratios against the published or the plain way, in reports/bench.csv
	$(BIN)/python benchmarks/bench.py

reference: $(STAMP)  ## keep what the full run on real data in reports/full found; README and pages tell it
	$(BIN)/python -c "from pathlib import Path; from musicnb.book.reference import write_reference as w; w(Path('reports/full'), Path('reports/reference'))"
	$(BIN)/python docs/build.py --readme

sync: $(STAMP)  ## after editing notebooks: strip and clean them, export modules, README and cards
	$(BIN)/nbstripout nbs/*.ipynb
	$(BIN)/nbdev-clean
	$(BIN)/nbdev-export
	$(BIN)/python docs/build.py --readme
	$(BIN)/python -c "from musicnb import core; from musicnb.studies import registry; core.write_text('data/CARDS.md', registry.data_cards())"

$(STAMP): settings.ini setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "musicnb: $$($(PYTHON) --version) is too old; expected Python 3.11 or newer; name one with PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar off -c constraints.txt -e '.[dev,words,cluster]'
	touch $(STAMP)

clean:  ## what a run made; never data/raw, nor a crawl, which may hold days of quota
	rm -rf $(VENV) site reports/quick reports/full reports/quick-each reports/full-each
	find data -path 'data/interim/*' -prune ! -name 'crawl.*' -exec rm -rf {} +
