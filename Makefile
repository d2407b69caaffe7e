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

# Three parts at once, for two cores: real processes and browsers mostly wait for each other. The
# real processes are the part in front: what a shell starts in the background ignores Ctrl-C.
test: web ## run every test; the core's statement coverage must stay at 95 % or more
	@mkdir -p out && $(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --ignore tests/e2e --ignore tests/web >out/tests.log 2>&1 & rest=$$!; \
	$(BIN)/python -m pytest tests/web >out/web.log 2>&1 & web=$$!; \
	trap 'kill $$rest $$web 2>/dev/null' INT TERM; \
	echo "Beside tests/e2e run tests/web and the others; they speak after it (out/web.log, out/tests.log)."; \
	$(BIN)/python -m pytest tests/e2e; e2e=$$?; \
	wait $$web; web=$$?; cat out/web.log; wait $$rest; rest=$$?; cat out/tests.log; \
	test $$e2e = 0 -a $$web = 0 -a $$rest = 0
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

bench: $(READY) ## measure beside the peers (18 minutes); SCENARIO=fanout for one
	@$(BIN)/python -m benchmarks $(SCENARIO)

docs: $(READY) ## write the generated documents and schemas
	@$(BIN)/python docs/generate.py

clean: ## remove everything that was made here
	rm -rf $(VENV) .venv-bench out benchmarks/native/built dist build web/node_modules web/client/dist src/tailrace/ui .coverage* .mypy_cache .ruff_cache .hypothesis
