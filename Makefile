# Adversarial Lenses.  `make book` builds the book, `make test` runs every test.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SITE   := _build/html
OUT    ?= build/graded

.DEFAULT_GOAL := help
.PHONY: help book serve test verify run records lighthouse bench assignments grade student lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environment: made again when a list changes --------------------------------

PIP := $(BIN)/python -m pip install --disable-pip-version-check -q

$(VENV)/base.stamp:
	$(PYTHON) -c 'import sys; sys.exit("Adversarial Lenses needs Python 3.10 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Every file is held to its hash.  torch has several builds of one version, so lock/torch.txt holds versions only.
$(VENV)/locked.stamp: $(VENV)/base.stamp pyproject.toml lock/main.txt lock/torch.txt
	@echo "Installing what the book and the tests need into $(VENV) (minutes the first time) ..."
	$(PIP) --progress-bar on --require-hashes --no-deps -r lock/main.txt
	$(PIP) --progress-bar on -c lock/torch.txt torch
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# The peers' own pins are old: they come without their dependencies.
$(VENV)/peers.stamp: $(VENV)/locked.stamp lock/peers.txt
	$(PIP) --progress-bar on --require-hashes --no-deps -r lock/peers.txt
	@touch $@

# --- the book ------------------------------------------------------------------

BOOK_SOURCES := _config.yml _toc.yml $(wildcard lib/advlens/course/*.js lib/advlens/course/*.css) $(shell find book chapters exercises/student data -type f ! -name '*.part' ! -path '*/__pycache__/*' 2>/dev/null)

book: $(SITE)/.checked  ## build the book into _build/html
	@echo "The book is at $(SITE)/index.html   (make serve shows it on http://127.0.0.1:8000)"

# A build that was stopped or failed leaves half of Sphinx's caches, and what they hold is not
# warned of again: where the mark of a started build still stands, all is built anew.
STARTED := _build/.started

$(SITE)/.checked: $(VENV)/locked.stamp $(BOOK_SOURCES)
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

test: $(VENV)/peers.stamp book  ## run every test
	$(BIN)/ruff check .
	$(BIN)/python -m pytest tests --ignore tests/site -q -n 2 --dist loadfile
	ADVLENS_STANDIN=always $(BIN)/python -m pytest $(NBVAL) -q -n 2 --dist loadfile chapters book
	ADVLENS_SITE=$(SITE) $(BIN)/python -m pytest tests/site -q -n 2 --dist loadfile

verify: $(VENV)/locked.stamp  ## run the chapters with real data against their stored outputs
	printf '%s\n' $(wildcard chapters/*.py) book/index.py book/lab.py | xargs -n 1 -P 2 $(BIN)/python -m advlens.course.chapters --verify

lighthouse: book  ## print Lighthouse's scores of every page (needs Node and Chromium; an idle machine)
	$(BIN)/python benchmarks/lighthouse.py $(SITE)

bench: $(VENV)/peers.stamp  ## print the benchmarks
	$(BIN)/python benchmarks/run.py

# --- chapters and records ----------------------------------------------------------

CHAPTER ?= *
run: $(VENV)/locked.stamp  ## make run CHAPTER=03: execute with real data, store the outputs (also CHAPTER=index, CHAPTER=lab)
	$(BIN)/python -m advlens.course.chapters $(wildcard chapters/$(CHAPTER)_*.py) $(wildcard book/$(filter index lab,$(CHAPTER)).py)

records: $(VENV)/locked.stamp  ## measure again everything that the book reports (hours)
	$(BIN)/advlens record $$($(BIN)/advlens record)

# --- assignments ---------------------------------------------------------------------

assignments: $(VENV)/locked.stamp  ## make the student release of every assignment
	$(BIN)/advlens student exercises/student

grade: $(VENV)/locked.stamp  ## make grade A=03_one_step SUBMISSIONS=folder OUT=folder
	@test -n "$(A)" -a -n "$(SUBMISSIONS)" || { echo 'usage: make grade A=03_one_step SUBMISSIONS=folder OUT=folder'; exit 2; }
	$(BIN)/advlens grade $(A) $(SUBMISSIONS) $(OUT)

# --- housekeeping ----------------------------------------------------------------------

COMPILE := $(BIN)/uv pip compile --universal --no-header --no-annotate --generate-hashes -q

lock: $(VENV)/base.stamp  ## resolve pyproject.toml anew into lock/; what stands there stays where it can
	$(PIP) uv
	@mkdir -p build && cat lock/torch.txt lock/main.txt > build/lock.txt
	$(COMPILE) --python-version 3.10 pyproject.toml --extra book --extra test --extra instructor --extra download -o build/lock.txt
	echo '# Exact versions and hashes of everything but torch (pip install --require-hashes --no-deps -r).  Made by `make lock`.' > lock/main.txt
	echo '# Exact versions of torch and what its GPU builds bring, as constraints (pip install -c).  Made by `make lock`.' > lock/torch.txt
	awk '/^[a-z]/ { apart = /^(torch==|nvidia-|cuda-)/ } \
	  !apart { print >> "lock/main.txt" }  apart && /^[a-z]/ { sub(/ \\$$/, ""); print >> "lock/torch.txt" }' build/lock.txt
	cp lock/peers.txt build/peers.txt
	echo '# The `bench` extra of pyproject.toml and what it needs at import (pip install --require-hashes --no-deps -r).' > lock/peers.txt
	$(COMPILE) --python-version 3.11 --no-deps build/peers.txt >> lock/peers.txt

clean:  ## remove what was built, keep the environment
	rm -rf _build build dist
