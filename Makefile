# make quickstart   from a checkout to genres of posters; needs Python and a package index, nothing else
# make test         style, types and tests
# make lint         style and types only
# make slow         the tests that take longer
# make clean        removes what the others made: the environment, the quickstart, caches
#
# PYTHON=python3.12 make test takes another Python; make quickstart POSTERS=300 draws more posters.

PYTHON ?= python3
POSTERS ?= 96
VENV := .venv
BIN := $(VENV)/bin
DEMO := quickstart
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Threads that wait should sleep: where other work runs, the spinning of OpenMP's makes reading several times slower.
export OMP_WAIT_POLICY ?= passive

.PHONY: quickstart test lint slow clean

quickstart: $(VENV)/.installed
	@echo "== Draw made-up posters, clean them and split them"
	$(BIN)/python scripts/draw_posters.py $(DEMO)/posters --count $(POSTERS)
	$(BIN)/mmposter prepare $(DEMO)/posters/posters.csv --format csv --out $(DEMO)/data \
		--ratios 0.6 0.2 0.2 --overwrite
	@echo "== Train on what three frozen models see: the picture, its style, its words (reading the words takes longest)"
	$(BIN)/mmposter train $(DEMO)/data --config lite --branches cnn,style,ocr --offline \
		--set train.batch_size=8 --out $(DEMO)/run --overwrite
	@echo "== Measure on the test posters, which training never saw"
	$(BIN)/mmposter evaluate $(DEMO)/run $(DEMO)/data --offline
	@echo "== Predict three new posters; what they were drawn as:"
	@$(BIN)/python scripts/draw_posters.py $(DEMO)/new --count 3 --seed 1 >/dev/null
	@cut -d, -f 1,2,4 $(DEMO)/new/posters.csv
	$(BIN)/mmposter predict $(DEMO)/new --model $(DEMO)/run --offline
	@echo
	@echo "Done. Look at:"
	@echo "  $(DEMO)/posters             the drawn posters"
	@echo "  $(DEMO)/data/report.md      what was kept and dropped, and the split"
	@echo "  $(DEMO)/run/README.md       the model card, with plots in $(DEMO)/run/plots"
	@echo "  $(DEMO)/run/evaluation/test/report.html   what the test posters say, for a browser"
	@echo "  README.md                      the same on your own posters"
	@echo "What each branch is worth, with three seeds (half a minute):"
	@echo "  $(BIN)/mmposter ablate $(DEMO)/data --config lite --branches cnn,style,ocr --set train.batch_size=8 \\"
	@echo "    --seeds 3 --offline --out $(DEMO)/ablation"
	@echo "The fourth branch, objects, stayed out: its weights (AGPL-3.0) come from GitHub. To add it:"
	@echo "  $(BIN)/mmposter train $(DEMO)/data --config lite --set train.batch_size=8 --out $(DEMO)/run-yolo"

test: lint
	$(BIN)/pytest

slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second run quick: nothing is installed again until the lists of packages change.
$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "== Install into $(VENV) (torch is large: some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[lite,offline]'
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml
	@echo "== Install into $(VENV) (torch is large: some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[lite,offline,dev]'
	@touch $@ $(VENV)/.installed
