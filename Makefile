# What a contributor runs: `make help` lists it. Needs Python 3.11 or later, make and git.
# Everything lands in .venv of this folder; nothing here minds spaces in the folder's path.

# The interpreter that .venv is made with; by default the first of these that is fit.
PYTHON ?=
PYTHONS := python3.14 python3.13 python3.12 python3.11 python3

BIN := .venv/bin/python
STAMP := .venv/.fastqueue-setup
PYTEST := $(BIN) -m pytest -q
# More workers than CI has cores: most tests wait, for sockets, processes and grace times.
SHARED_OUT := $(PYTEST) -n 3 --dist worksteal
SOURCES := src tests benchmarks examples
STAGES := lint types layers unit simulation power torture integration acceptance bench-check

export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup lint format types layers unit simulation power power-cut torture integration acceptance test bench bench-check bench-peers profile demo \
	build clean simulate mutants soak fuzz

help: ## Show this.
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 20

# -- set-up

# What an up-to-date .venv was made for: this folder, these dependencies, this version.
KEY = $$(pwd) $$(cat pyproject.toml src/fastqueue/_version.py | cksum)

# A command of this name may exist and not run (a pyenv shim), be too old, or lack venv.
FIT = import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

setup: ## Make .venv with the project and its tools; does nothing if nothing has changed.
	@if [ "$$(cat $(STAMP) 2>/dev/null)" = "$(KEY)" ] && $(BIN) -c '' 2>/dev/null; then exit 0; fi; \
	set -e; rm -f $(STAMP); \
	if ! $(BIN) -c '$(FIT)' 2>/dev/null; then \
	    found=; \
	    if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else set -- $(PYTHONS); fi; \
	    for candidate in "$$@"; do \
	        if "$$candidate" -c '$(FIT)' >/dev/null 2>&1; then found=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "make setup: none of these is a Python 3.11 or later with venv: $$*" >&2; \
	        echo "Install one (on Debian and Ubuntu with python3-venv), or say which to use:" >&2; \
	        echo "    make setup PYTHON=/path/to/python3.11" >&2; \
	        exit 1; \
	    fi; \
	    echo "making .venv with $$("$$found" --version)"; \
	    "$$found" -m venv --clear .venv; \
	fi; \
	echo "installing the project and its tools into .venv"; \
	$(BIN) -m pip --version >/dev/null 2>&1 || $(BIN) -m ensurepip >/dev/null; \
	$(BIN) -m uv --version >/dev/null 2>&1 || $(BIN) -m pip install --quiet uv || \
	    echo "make setup: uv can't be had; installing with pip" >&2; \
	if ! $(BIN) -m uv --version >/dev/null 2>&1 || { \
	    ! $(BIN) -m uv pip install --quiet --python $(BIN) --editable . --group dev && \
	    echo "make setup: uv failed, for the reason above; installing with pip instead" >&2; \
	}; then \
	    $(BIN) -m pip install --quiet --upgrade 'pip>=25.1'; \
	    $(BIN) -m pip install --quiet --editable . --group dev; \
	fi; \
	echo "$(KEY)" > $(STAMP)

# -- checks, in the order in which `make test` runs them

lint: setup ## Check style and formatting.
	$(BIN) -m ruff check $(SOURCES)
	$(BIN) -m ruff format --check $(SOURCES)

format: setup ## Correct what of style and formatting can be corrected.
	$(BIN) -m ruff check --fix $(SOURCES)
	$(BIN) -m ruff format $(SOURCES)

types: setup ## Check types.
	$(BIN) -m mypy

layers: setup ## Check that a layer imports only downward.
	$(BIN) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

unit: setup ## Test the parts.
	$(SHARED_OUT) tests/unit

simulation: setup ## Play seeded histories of faults; SEED=n or STACK_SEED=n plays one again.
	$(PYTEST) $(if $(SEED),-s -k one_history) $(if $(STACK_SEED),-s -k one_stack) tests/simulation

power: setup ## Cut the store's power 40 times a test: nothing acknowledged may be lost.
	$(SHARED_OUT) tests/power

power-cut: setup ## The same, 300 times a test, with the counts.
	POWER_CUTS=300 $(PYTEST) -s tests/power

# Another seed each time; the one that was played is printed.
torture: setup ## Kill, stop and cut off real processes under load; KILLS=1000 for longer, SEED=n again.
	$(PYTEST) tests/torture
	$(BIN) -m tests.torture.play --kills $(or $(KILLS),200) $(if $(SEED),--seed $(SEED))

integration: setup ## Test client, control plane and subworkers together, on one event loop; feed them garbage.
	$(SHARED_OUT) tests/integration tests/fuzz

acceptance: setup ## Test what users were promised, over real processes.
	$(SHARED_OUT) tests/acceptance

test: setup ## Run all of these; stop at the first that fails.
	@summary=; code=0; \
	for stage in $(STAGES); do \
	    echo "== $$stage"; \
	    begun=$$(date +%s); \
	    $(MAKE) --no-print-directory $$stage || code=$$?; \
	    took=$$(($$(date +%s) - begun)); \
	    if [ $$code -eq 0 ]; then verdict=passed; else verdict=FAILED; fi; \
	    summary="$$summary$$(printf '%-12s %s %4d s' $$stage $$verdict $$took)\n"; \
	    if [ $$code -ne 0 ]; then break; fi; \
	done; \
	printf "\n$$summary"; \
	exit $$code

# -- the rest

SEEDS ?= 10000
FROM ?= 0

simulate: setup ## Play more histories than the tests do; SEEDS=n of them, FROM=k on.
	$(BIN) -m tests.simulation.play --seeds $(SEEDS) --from $(FROM)
	$(BIN) -m tests.simulation.play --seeds $(SEEDS) --from $(FROM) --world stack

mutants: setup ## Plant faults one at a time; the simulation must catch each.
	$(BIN) -m tests.simulation.plant

# What is asked for ten million queued is part of the check.
DEPTHS ?= 100000 1000000 $(if $(CHECK),10000000)
WRITE ?=
CHECK ?=

bench: setup ## Measure fastqueue; WRITE=1 puts the figures into README and RESULTS.md, CHECK=1 judges them; DEPTHS="n m".
	$(BIN) -m benchmarks.bench --depths $(DEPTHS) $(if $(WRITE),--write) $(if $(CHECK),--check)

# py-spy is for this alone.
profile: setup ## Show what each process spends its CPU time on, by stage.
	@$(BIN) -c 'import importlib.metadata as m; m.version("py-spy")' 2>/dev/null || \
	    $(BIN) -m uv pip install --quiet --python $(BIN) --group profile || $(BIN) -m pip install --quiet --group profile
	$(BIN) -m benchmarks.stages

bench-check: setup ## Check that no process needs clearly more CPU time a task than it did, beside a floor.
	$(BIN) -m benchmarks.check

PEERS ?=
WORK ?=
ROUNDS ?= 3

# WORK: echo sleep cpu payload, or some of them.
bench-peers: setup ## Measure beside other task queues, each in .peers/NAME; PEERS="huey rq", WORK="sleep cpu", ROUNDS=n, CHECK=1.
	$(BIN) -m benchmarks.peers $(PEERS) $(if $(WORK),--work $(WORK)) --rounds $(ROUNDS) $(if $(CHECK),--check) \
	    --results benchmarks/RESULTS.md

SECONDS ?= 60
TARGET ?=

# atheris has wheels for some versions of Python only, so that it isn't among the tools for all.
fuzz: setup ## Feed garbage guided by coverage, for SECONDS in all; TARGET=frames alone.
	@$(BIN) -c 'import atheris' 2>/dev/null || $(BIN) -m uv pip install --quiet --python $(BIN) --group fuzz || \
	    $(BIN) -m pip install --quiet --group fuzz
	$(BIN) -m tests.fuzz.guided --seconds $(SECONDS) $(TARGET)

soak: setup ## Look for leaks: a million tasks through one control plane and one subworker; TASKS=n.
	$(BIN) -m benchmarks.soak --tasks $(or $(TASKS),1000000)

demo: setup ## Run real tasks, kill the control plane half-way, and check that nothing is lost.
	@$(BIN) -m examples.demo

build: setup ## Make the wheel and the sdist in dist/, and check what is in the wheel.
	@rm -rf dist
	@if $(BIN) -m uv --version >/dev/null 2>&1; then \
	    $(BIN) -m uv build --quiet --python $(BIN) --out-dir dist; \
	else \
	    $(BIN) -m pip install --quiet build && $(BIN) -m build --outdir dist; \
	fi
	@$(BIN) -c "$$CHECK_WHEEL"

clean: ## Remove caches and dist/; leave .venv and .peers.
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

define CHECK_WHEEL
import pathlib, sys, zipfile
[wheel] = pathlib.Path("dist").glob("*.whl")
[sdist] = pathlib.Path("dist").glob("*.tar.gz")
inside = set(zipfile.ZipFile(wheel).namelist())
source = pathlib.Path("src")
wanted = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
wanted = {name for name in wanted if name.endswith((".py", ".sql", "/py.typed"))}
for kind in (".sql", "/py.typed"):
    if not any(name.endswith(kind) for name in wanted):
        sys.exit(f"there is no {kind} file in src")
if missing := sorted(wanted - inside):
    sys.exit(f"{wheel} lacks {', '.join(missing)}")
print(f"{wheel} ({len(inside)} files, none missing)\n{sdist}")
endef
export CHECK_WHEEL
