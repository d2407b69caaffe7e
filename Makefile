# One verb for each thing one does here; CI calls the same ones. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo demo-cluster test check fix bench docs web clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Tailrace and its tools into $(VENV) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

web: $(READY) ## build the live page, if its sources have changed
	@$(BIN)/python web/build.py

demo: web ## start a server, run two flows on it, show both streams live
	@$(BIN)/tailrace demo

demo-cluster: $(READY) ## two servers and two workers on a Redis, some killed: nothing lost, nothing twice
	@$(BIN)/tailrace demo --cluster

# Two halves at once, for two cores: real processes and browsers mostly wait for each other.
test: web ## run every test; the core's statement coverage must stay at 95 % or more
	@mkdir -p out && $(BIN)/coverage erase
	@$(BIN)/python -m pytest tests/e2e tests/web >out/processes.log 2>&1 & beside=$$!; \
	trap 'kill $$beside 2>/dev/null' INT TERM; \
	echo "Beside these run tests/e2e and tests/web; what they say comes after (out/processes.log)."; \
	$(BIN)/coverage run -m pytest --ignore tests/e2e --ignore tests/web; first=$$?; \
	wait $$beside; second=$$?; cat out/processes.log; test $$first = 0 -a $$second = 0
	@$(BIN)/coverage report --skip-covered --fail-under=95

check: $(READY) ## lint, format, types, and generated documents
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python docs/generate.py --check

fix: $(READY) ## format, and repair what can be repaired
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python docs/generate.py

bench: $(READY) ## measure beside the peers (15 minutes); SCENARIO=fanout for one
	@$(BIN)/python -m benchmarks $(SCENARIO)

docs: $(READY) ## write the generated documents and schemas
	@$(BIN)/python docs/generate.py

clean: ## remove everything that was made here
	rm -rf $(VENV) .venv-bench out benchmarks/native/built dist build web/node_modules web/client/dist src/tailrace/ui .coverage* .mypy_cache .ruff_cache .hypothesis
