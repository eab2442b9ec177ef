# Everything a developer runs; `make` alone lists it.
VENV ?= .venv
PYTHON ?=
ARGS ?=
WORKERS ?= 3
KAFKA ?=
SOURCE ?= postgresql
BUSINESS ?=
FRONT ?= sqlite
CLIENT ?= kafka-python
KEEP ?=
BUGS ?= recorded
LONG ?=
BUDGET ?= 80m
SECONDS ?= 60
TARGET ?=
INSTALL ?=
ARCHITECTURE ?=
OWN_PYTHON ?=
COMPILED ?=
QUICK ?=
STORE ?=
STAMP := $(VENV)/.installed
COVERAGE := --cov=agent --cov-branch --cov-report=term:skip-covered --cov-fail-under=90
# With COMPILED=1 the compiled modules are built once for each state of the source; coverage sees none of their lines
RUN = $(if $(COMPILED),folder="$$($(VENV)/bin/python -m tests.services.companion)" && PYTHONPATH="$$folder" )$(VENV)/bin/python

# Tests start the agent's processes many hundred times; none of them compiles it anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help venv demo compiled archive packages docs unit test faults bench fuzz lint audit sbom messages lock clean

help: ## list the targets
	@echo "Targets (make <target>):"
	@sed -n 's/^\([a-z]*\):.*## /  \1: /p' $(MAKEFILE_LIST)
	@echo "Variables: VENV=folder  PYTHON=python3.x  ARGS='pytest options'  WORKERS=tests at a time  SOURCE=postgresql|mysql|polling|trigger, BUSINESS=sqlite|mariadb (with SOURCE=polling|trigger), FRONT=sqlite|postgres|mariadb, CLIENT=kafka-python|librdkafka, KAFKA=host:port and KEEP=1 for the demo  INSTALL=folder of a Python environment for compiled  ARCHITECTURE=x86_64|aarch64 and OWN_PYTHON=file for archive  COMPILED=1 for unit and test  BUGS=search|none, LONG=1 and BUDGET=80m, or HOT=minutes, for faults  QUICK=1 and STORE=1 for bench  SECONDS=60 and TARGET=name for fuzz"

venv: $(STAMP) ## the Python environment with everything locked in requirements.lock
	@echo "venv: $(VENV) is up to date"

$(STAMP): requirements.lock pyproject.toml
	@echo "venv: installing the locked packages into $(VENV) (about a minute) ..."
	@python="$(PYTHON)"; \
	for name in python3 python3.11 python3.12 python3.13 python3.14; do \
	  [ -n "$$python" ] && break; \
	  "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && python="$$name"; \
	done; \
	[ -n "$$python" ] || { echo "venv: no Python 3.11 or newer found; install one or name it: make venv PYTHON=/path/to/python3" >&2; exit 1; }; \
	[ -x "$(VENV)/bin/python" ] || "$$python" -m venv "$(VENV)" || { \
	  echo "venv: $$python cannot make environments; on Debian: apt-get install python3-venv" >&2; rm -rf "$(VENV)"; exit 1; }
	$(VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: ## show the agent at work with databases and a broker of its own
	@echo "demo: the agent between two fresh databases and a broker"
	@$(MAKE) --no-print-directory venv
	@$(if $(filter mariadb mysql,$(FRONT) $(BUSINESS) $(SOURCE)),tests/install.sh mariadb)
	$(VENV)/bin/python -m demo --source $(SOURCE) $(if $(BUSINESS),--business $(BUSINESS)) --front $(FRONT) --client $(CLIENT) $(if $(KAFKA),--kafka $(KAFKA)) $(if $(KEEP),--keep)

compiled: ## the wheel of compiled modules for this Python and processor, into dist/; INSTALL=folder puts it into that Python environment, too
	@echo "compiled: dist/unit_sync_agent_compiled-*.whl (mypyc and the C compiler: a minute or two)"
	@$(MAKE) --no-print-directory venv
	@tests/install.sh compiler
	$(VENV)/bin/python -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist ./compiled
	@$(if $(INSTALL),$(INSTALL)/bin/python -m pip install --disable-pip-version-check --no-deps --no-index --find-links dist --force-reinstall unit-sync-agent-compiled)
	@$(if $(INSTALL),$(INSTALL)/bin/python -P -c 'import agent; print("compiled: the agent there runs", agent.BUILD)')
	@ls dist/unit_sync_agent_compiled-*.whl

archive: ## all that a host without network needs, with install.sh, as dist/unit-sync-agent-*-linux-*.tar.gz; ARCHITECTURE=aarch64 for another processor, OWN_PYTHON=file brings a Python along, ARGS="--driver oracle" a driver
	@echo "archive: wheels, hashes, licences and install.sh (about a minute)"
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/python -m tools.archive $(if $(ARCHITECTURE),--architecture $(ARCHITECTURE)) $(if $(OWN_PYTHON),--python $(OWN_PYTHON)) $(ARGS)

packages: ## .deb and .rpm of the archives in dist/, which install with the archive's own install.sh
	@echo "packages: dist/unit-sync-agent-*.deb and .rpm"
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/python -m tools.packages

docs: ## the documents as a small site that needs no network and no server, into dist/site
	@echo "docs: dist/site"
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/python -m tools.site $(ARGS)

unit: ## the tests of logic alone (tests/unit.txt): no service is needed, less than a minute
	@echo "unit: the tests that need no service"
	@$(MAKE) --no-print-directory venv
	$(RUN) -m pytest -p no:tests.services.fixtures -n $(WORKERS) @tests/unit.txt $(ARGS)

test: ## all tests (COMPILED=1: on the compiled modules) against real PostgreSQL 14 to 18, MariaDB and Apache Kafka
	@echo "test: all tests with coverage, against real PostgreSQL, MariaDB and Kafka"
	@$(MAKE) --no-print-directory venv
	@tests/install.sh
	@$(VENV)/bin/python -m tests.services.kafka_files
	@$(VENV)/bin/python -m tests.services.postgres_files
	@$(VENV)/bin/python -m tests.services.mysql_files
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(if $(COMPILED),,$(COVERAGE)) --durations=40 --durations-min=15 $(ARGS)

faults: ## kill -9 schedules against the real product, and planted bugs that must be caught, worlds of drawn schemas and settings; BUGS=search looks for the bugs' seeds afresh; LONG=1 BUDGET=80m: new schedules and worlds, into the ledger; HOT=10: so many minutes of hot rows over a trigger log
	@echo "faults: $(if $(HOT),hot rows over a trigger log for $(HOT) minutes on PostgreSQL and on MariaDB,$(if $(LONG),new schedules for $(BUDGET),kill -9 at named places, planted bugs, and worlds (about 12 minutes))), on real PostgreSQL and Kafka"
	@$(MAKE) --no-print-directory venv
	@tests/install.sh
	@$(if $(LONG),tests/install.sh compiler)
	@$(VENV)/bin/python -m tests.services.kafka_files
	$(VENV)/bin/python -m $(if $(HOT),tests.faults.hot --minutes $(HOT),tests.faults $(if $(LONG),--budget $(BUDGET:m=),--bugs $(BUGS))) $(ARGS)

bench: ## latency, throughput, copy and idle against Debezium and bare parts (a quarter of an hour); QUICK=1: three minutes; STORE=1 keeps ratios, plots and tables
	@echo "bench: $(if $(QUICK),about three minutes,about a quarter of an hour), on real PostgreSQL, Kafka and Kafka Connect"
	@$(MAKE) --no-print-directory venv
	@tests/install.sh
	@$(VENV)/bin/python -m tests.services.kafka_files
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -e '.[bench]' --no-build-isolation
	$(VENV)/bin/python -m bench $(if $(QUICK),--quick) $(if $(STORE),--store) $(ARGS)

fuzz: ## coverage-guided fuzzing (atheris) of all that reads foreign bytes, SECONDS for each target; TARGET=name for one
	@echo "fuzz: $(SECONDS) s for each target"
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -e '.[fuzz]' --no-build-isolation
	$(VENV)/bin/python -m tests.fuzz --seconds $(SECONDS) $(TARGET)

lint: ## style, types and layers
	@echo "lint: ruff, mypy, import-linter"
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

audit: ## ask the advisory service about every locked package; fails for a known vulnerability, ARGS=--strict also when it cannot be asked
	@echo "audit: the packages of requirements.lock"
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/python -m tools.audit $(ARGS)

sbom: ## the bill of materials (CycloneDX) of the locked packages and the native libraries inside them, into build/
	@echo "sbom: build/sbom.cdx.json"
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/python -m tools.bill

messages: ## renew the translation catalogue from the code; fails while a message is untranslated
	@echo "messages: agent/locale"
	@$(MAKE) --no-print-directory venv
	$(VENV)/bin/python -m tools.messages

lock: ## renew requirements.lock and constraints.txt from pyproject.toml
	@echo "lock: requirements.lock"
	$(VENV)/bin/python -m pip install --quiet uv
	$(VENV)/bin/python -m uv pip compile pyproject.toml --extra dev --generate-hashes --quiet --universal --python-version 3.11 --no-header --upgrade -o requirements.lock
	$(VENV)/bin/python -m tools.constraints

clean: ## remove what was built and cached; the environment stays
	@echo "clean: removing caches and build results"
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
