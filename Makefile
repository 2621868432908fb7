# make demo: photos to a customised video.  make test: every check.  Both make .venv first.
PYTHON ?= python3
# On Linux without a GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu saves gigabytes.
TORCH_INDEX ?=
VENV := .venv/bin

.PHONY: demo test check clean

demo: .venv/ready
	$(VENV)/magicid run examples/ava --out runs/ava

test: .venv/ready
	scripts/check
	scripts/test

check: .venv/ready
	scripts/check

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(VENV)/pip install --quiet --disable-pip-version-check --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(VENV)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
