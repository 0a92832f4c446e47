# Thin targets over dev.py, which does the work: `make test` is `python3 dev.py test`.
# Another interpreter: `make test PYTHON=python3.13`. Arguments: `make demo ARGS=--json`.
PYTHON ?= python3
TASKS := demo triage test check pytest lint fmt types docs browser bench bench-count bench-peers bench-llm bench-all clean

.PHONY: help $(TASKS)
help:
	@$(PYTHON) dev.py
$(TASKS):
	@$(PYTHON) dev.py $@ $(ARGS)
