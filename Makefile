# Two commands do all set-up: `make demo` runs the main job, `make test` runs the tests but for those
# that take more than about ten seconds each, which `make test-slow` does. `make docs` builds the site.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-slow lint docs docs-versions dist clean

demo: $(VENV)/.installed
	$(BIN)/promptseg demo -o demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests benchmarks apps docs/_site docs/notebooks docs/tutorials/shapes.py
	$(BIN)/ruff format --check src tests benchmarks apps docs/_site docs/notebooks docs/tutorials/shapes.py
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo 'open build/site/index.html; for its search: python -m http.server -b 127.0.0.1 -d build/site'

docs-versions: $(VENV)/.installed-docs  # a site for every tag vX.Y.Z, and for what is checked out
	$(BIN)/python docs/_site/versions.py --output build/versions

dist: $(VENV)/.created  # wheel and source distribution
	$(BIN)/python -m pip install --disable-pip-version-check build
	$(BIN)/python -m build --outdir dist

$(VENV)/.created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "promptseg needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: $(VENV)/.created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) demo
