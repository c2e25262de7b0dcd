# The house's commands. Each works from a fresh clone with only Python (3.13 or 3.12), make and a C compiler present.
.DEFAULT_GOAL := help
.PHONY: help env run demo test test-long bench peers lint lock limits clean

PY := .venv/bin/python
LOCKS := $(wildcard requirements/*.txt)
# Two workers; files with tests marked live or netns share one of them, one after the other (tests/conftest.py).
PYTEST_ARGS ?= -n 2 --dist loadscope --durations=12
# Two tests that wait on sockets are no reason to buffer what they print.
export PYTHONUNBUFFERED := 1

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /|/' | awk -F'|' '{ printf "make %-10s %s\n", $$1, $$2 }'

.venv/.stamp-run: pyproject.toml $(LOCKS) tools/make-env.sh
	@tools/make-env.sh run

.venv/.stamp-test: pyproject.toml $(LOCKS) tools/make-env.sh
	@tools/make-env.sh test

env: .venv/.stamp-run ## the environment: .venv with only what the gateway needs

run: env ## the gateway with its embedded defaults
	@exec .venv/bin/inspector run

demo: env ## a message that passes, one masked, one blocked, on real bytes, within a minute
	@exec $(PY) -m inspector.app.demo

peers: ## servers and tools for the live tests and the bench, from Debian where it may
	@tools/get-peers.sh

test: .venv/.stamp-test peers ## lint, types, import contracts and all tests but the long ones
	@tools/check.sh $(PYTEST_ARGS)

lint: .venv/.stamp-test ## lint, types and import contracts alone
	@.venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports

test-long: .venv/.stamp-test peers ## ten minutes of fuzzing each decoder and the long tests; writes docs/measurements.md
	@$(PY) -m tests.long_run

bench: .venv/.stamp-test peers ## the figures, as ratios in one run against named peers
	@$(PY) -m bench

limits: .venv/.stamp-test ## writes docs/limits.md anew from the code
	@$(PY) tools/limits_page.py

UV ?= uv
INPUTS := pyproject.toml requirements/build.in
COMPILE := $(UV) pip compile -q --generate-hashes --no-emit-index-url --no-header --no-annotate
lock: ## makes the hashed locks anew (needs uv; name it with UV=)
	for v in 3.13 3.12; do \
	  $(COMPILE) $(INPUTS) --extra scapy --python-version $$v -o requirements/run-$$v.txt && \
	  $(COMPILE) $(INPUTS) requirements/test.in --extra scapy --extra uvloop -c requirements/run-$$v.txt \
	    --python-version $$v -o requirements/test-$$v.txt || exit 1; \
	done

clean: ## removes the environment and what was built
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
