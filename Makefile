# make quickstart   from a checkout to a trained model and genres of posters; needs Python and a package index alone
# make test         style, types and tests
# make lint         style and types only
# make slow         the tests that take longer
# make docs         the pages of docs/ and the Python API as a site: open site/index.html
# make clean        removes what the others made: the environment, the quickstart, caches
#
# make test PYTHON=python3.12 VENV=.venv312 takes another Python, in an environment of its own.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := quickstart
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Threads that wait should sleep: where other work runs, the spinning of OpenMP's makes reading several times slower.
export OMP_WAIT_POLICY ?= passive

# Tests run in one process a core, each with one thread: two processes that each want all cores wait for one another
# most of the time. Compiled files are kept, or each command that a test starts compiles all of them anew.
unexport PYTHONDONTWRITEBYTECODE
test: export OMP_NUM_THREADS := 1
SPREAD := --numprocesses=logical --maxprocesses=8 --dist=worksteal

.PHONY: quickstart test lint slow docs clean

quickstart: $(VENV)/.installed
	@echo "== Train on the benchmark: what frozen models saw in 5,626 real posters (no picture is in it)"
	$(BIN)/mmposter train --branches cnn,yolo,style --offline --out $(DEMO)/run --overwrite
	@echo "== Measure on the test posters, which training never saw"
	$(BIN)/mmposter evaluate $(DEMO)/run --offline
	@echo "== Draw posters of four made-up films, as"
	@$(BIN)/python scripts/draw_posters.py $(DEMO)/posters --count 4 --seed 1 >/dev/null
	@cut -d, -f 1,2,4 $(DEMO)/posters/posters.csv
	@echo "== What the model that travels with mmposter says of them (it learnt from real posters, and never saw drawn ones)"
	$(BIN)/mmposter predict $(DEMO)/posters --listing --offline
	@echo
	@echo "Done. Look at:"
	@echo "  $(DEMO)/run/README.md       the model card, with plots in $(DEMO)/run/plots"
	@echo "  $(DEMO)/run/evaluation/test/report.html   what the test posters say, for a browser"
	@echo "  mmposter/shipped/posters/README.md        how the model was made, and how good it is"
	@echo "  README.md                   the same on your own posters"
	@echo "What each branch is worth, with three seeds: $(BIN)/mmposter ablate --branches cnn,yolo,style --seeds 3 --offline"
	@echo "Genres of a poster of yours:                 $(BIN)/mmposter predict POSTER.jpg"

test: lint
	$(BIN)/pytest $(SPREAD)

slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m "slow and not network"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(DEMO) site build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second run quick: nothing is installed again until the lists of packages change.
$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "== Install into $(VENV) (torch is large: some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[offline]'
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml
	@echo "== Install into $(VENV) (torch is large: some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[lite,offline,dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: setup.cfg pyproject.toml
	@echo "== Install into $(VENV) (torch is large: some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[docs]'
	@touch $@
