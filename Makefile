# Adversarial Lenses.  `make book` builds the book, `make test` runs every test.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SITE   := _build/html
OUT    ?= build/graded

.DEFAULT_GOAL := help
.PHONY: help book serve test verify run records bench assignments grade student lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environment: one stamp per set of extras, made again when a list changes ---

$(VENV)/base.stamp:
	$(PYTHON) -c 'import sys; sys.exit("Adversarial Lenses needs Python 3.10 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/book.stamp: $(VENV)/base.stamp pyproject.toml lock/main.txt
	@echo "Installing the book's packages into $(VENV) (minutes the first time) ..."
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -q -c lock/main.txt -e '.[book]'
	@touch $@

# The peers' own pins are old: they come without their dependencies.
$(VENV)/all.stamp: $(VENV)/book.stamp lock/peers.txt
	@echo "Installing the tests' packages into $(VENV) ..."
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -q -c lock/main.txt -e '.[book,test,instructor]'
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -q --no-deps -r lock/peers.txt
	@touch $@

# --- the book ------------------------------------------------------------------

BOOK_SOURCES := _config.yml _toc.yml $(shell find book chapters exercises/student data -type f ! -name '*.part' ! -path '*/__pycache__/*' 2>/dev/null)

book: $(SITE)/.checked  ## build the book into _build/html
	@echo "The book is at $(SITE)/index.html   (make serve shows it on http://127.0.0.1:8000)"

# A build that was stopped or failed leaves half of Sphinx's caches, and what they hold is not
# warned of again: where the mark of a started build still stands, all is built anew.
STARTED := _build/.started

$(SITE)/.checked: $(VENV)/book.stamp $(BOOK_SOURCES)
	@if test -e $(STARTED); then echo "The last build did not end well: building anew"; rm -rf _build; fi
	@mkdir -p _build && touch $(STARTED) && rm -f $@
	$(BIN)/jupyter-book build . -W -n --keep-going
	$(BIN)/python book/check_site.py $(SITE)
	@touch $@ && rm $(STARTED)

serve: book  ## show the built book on http://127.0.0.1:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(SITE) 8000

# --- tests -----------------------------------------------------------------------

NBVAL := --nbval-lax --nbval-cell-timeout=300 --nbval-current-env

# Two workers on two cores: one thread each.
test verify: export OMP_NUM_THREADS = 1

test: $(VENV)/all.stamp book  ## run every test
	$(BIN)/python -m pytest tests --ignore tests/site -q -n 2 --dist loadfile
	ADVLENS_STANDIN=always $(BIN)/python -m pytest $(NBVAL) -q -n 2 --dist loadfile chapters book
	ADVLENS_SITE=$(SITE) $(BIN)/python -m pytest tests/site -q

verify: $(VENV)/book.stamp  ## run the chapters with real data against their stored outputs
	printf '%s\n' $(wildcard chapters/*.py) book/index.py | xargs -n 1 -P 2 $(BIN)/python -m advlens.course.chapters --verify

bench: $(VENV)/all.stamp  ## print the benchmarks
	$(BIN)/python benchmarks/run.py

# --- chapters and records ----------------------------------------------------------

CHAPTER ?= *
run: $(VENV)/book.stamp  ## make run CHAPTER=03: execute with real data, store the outputs (CHAPTER=index: the landing page)
	$(BIN)/python -m advlens.course.chapters $(wildcard chapters/$(CHAPTER)_*.py) $(wildcard book/$(filter index,$(CHAPTER)).py)

records: $(VENV)/book.stamp  ## measure again everything that the book reports (hours)
	$(BIN)/advlens record $$($(BIN)/advlens record)

# --- assignments ---------------------------------------------------------------------

assignments: $(VENV)/all.stamp  ## make the student release of every assignment
	$(BIN)/advlens student exercises/student

grade: $(VENV)/all.stamp  ## make grade A=03_one_step SUBMISSIONS=folder OUT=folder
	@test -n "$(A)" -a -n "$(SUBMISSIONS)" || { echo 'usage: make grade A=03_one_step SUBMISSIONS=folder OUT=folder'; exit 2; }
	$(BIN)/advlens grade $(A) $(SUBMISSIONS) $(OUT)

# --- housekeeping ----------------------------------------------------------------------

lock: $(VENV)/base.stamp  ## resolve pyproject.toml anew into lock/main.txt
	$(BIN)/python -m pip install --disable-pip-version-check -q uv
	$(BIN)/uv pip compile pyproject.toml --extra book --extra test --extra instructor --universal --python-version 3.10 \
	  --no-header --no-annotate -q -o lock/main.txt
	sed -i '1i # Exact versions of everything, used as constraints (pip install -c).  Made by `make lock` from pyproject.toml.' lock/main.txt

clean:  ## remove what was built, keep the environment
	rm -rf _build build dist
