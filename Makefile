# make demo   a restore drill, from nothing: installs what is missing, builds, runs it on a local RDS
# make test   formatting, lints, dependencies, all tests
# make fuzz   a minute of random input for each reader of what others wrote
# make bench  what is fast, measured against what one would do otherwise
# make setup  only installs what is missing (the others call it)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: demo test fuzz bench setup setup-database setup-build setup-testers setup-clients

# The AWS CLI, boto3, moto (a second, independent RDS), schemathesis and Playwright of the tests live in a virtual environment under target/, so that nothing is installed system-wide.
CLIENTS := target/clients
export PATH := $(CURDIR)/$(CLIENTS)/bin:$(PATH)
export CARGO_TERM_PROGRESS_WHEN ?= never
# Tests wait for servers more than they compute.
export RUST_TEST_THREADS ?= 4
# A golden output that differs fails, and is rewritten only when it is asked for: INSTA_UPDATE=always.
export INSTA_UPDATE ?= no

demo: setup-database setup-build $(CLIENTS)/cli
	cargo build --quiet --workspace --bins
	localstack/demo/run

test: setup
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --quiet --no-deps --document-private-items -p lifeboat
	tests/dependencies
	cargo build --quiet --workspace --bins --tests
	tests/in_memory cargo test --quiet --workspace

fuzz: setup-build
	fuzz/run

bench: setup
	cargo build --quiet --release --workspace --bins
	benches/run
	benches/fleet
	benches/verify
	benches/backup
	benches/serve

setup: setup-database setup-build setup-testers setup-clients

APT := $(if $(filter 0,$(shell id -u)),,sudo) env DEBIAN_FRONTEND=noninteractive apt-get -qq

# PostgreSQL 14 or later: initdb, postgres, psql, pg_dump, pgbench. Debian would also start a cluster on port 5432; we want none.
setup-database:
	@if ! { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || ! command -v psql >/dev/null; then \
	  echo "installing PostgreSQL"; \
	  $(if $(filter 0,$(shell id -u)),,sudo) mkdir -p /etc/postgresql-common; \
	  echo "create_main_cluster = false" | $(if $(filter 0,$(shell id -u)),,sudo) tee /etc/postgresql-common/createcluster.conf >/dev/null; \
	  $(APT) update && $(APT) install -y postgresql postgresql-client >/dev/null; \
	fi

# What it takes to build.
setup-build:
	@command -v cc >/dev/null || { echo "installing a C compiler"; $(APT) update && $(APT) install -y build-essential >/dev/null; }
	@command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup, then run make again"; exit 2; }

# What only the tests and the benchmarks need.
setup-testers:
	@command -v age >/dev/null && command -v jq >/dev/null && command -v sqlite3 >/dev/null && command -v zstd >/dev/null \
	  || { echo "installing age, jq, sqlite3 and zstd"; $(APT) update && $(APT) install -y age jq sqlite3 zstd >/dev/null; }
	@command -v cron >/dev/null && command -v faketime >/dev/null && command -v pigz >/dev/null && command -v strace >/dev/null && command -v wrk >/dev/null && command -v systemd-analyze >/dev/null \
	  || { echo "installing cron, faketime, pigz, strace, systemd-analyze and wrk"; $(APT) update && $(APT) install -y --no-install-recommends cron faketime pigz strace systemd wrk >/dev/null; }
	@command -v pgbouncer >/dev/null || test -x /usr/sbin/pgbouncer \
	  || { echo "installing PgBouncer"; $(APT) update && $(APT) install -y --no-install-recommends pgbouncer >/dev/null; }
	@command -v chromium >/dev/null || { echo "installing Chromium"; $(APT) update && $(APT) install -y --no-install-recommends chromium >/dev/null; }
	@command -v curl >/dev/null || { echo "installing curl"; $(APT) update && $(APT) install -y curl >/dev/null; }

setup-clients: $(CLIENTS)/installed $(CLIENTS)/bin/promtool

$(CLIENTS)/cli: localstack/clients.txt
	@command -v python3 >/dev/null && python3 -c "import venv, ensurepip" 2>/dev/null \
	  || { echo "installing Python"; $(APT) update && $(APT) install -y python3 python3-venv >/dev/null; }
	@echo "installing the AWS CLI and boto3 into $(CLIENTS)"
	@python3 -m venv $(CLIENTS) && $(CLIENTS)/bin/pip install --quiet --disable-pip-version-check -r localstack/clients.txt
	@touch $@

$(CLIENTS)/installed: $(CLIENTS)/cli localstack/moto.txt tests/testers.txt deploy/linters.txt
	@echo "installing moto, schemathesis, Playwright, a mail server and the linters of deploy/ into $(CLIENTS)"
	@$(CLIENTS)/bin/pip install --quiet --disable-pip-version-check -r localstack/clients.txt -r localstack/moto.txt -r tests/testers.txt -r deploy/linters.txt
	@touch $@

# The rules of Prometheus are checked by its own promtool; taken out of Debian's package, so that no server is installed with it.
$(CLIENTS)/bin/promtool: | $(CLIENTS)/installed
	@echo "fetching promtool into $(CLIENTS)"
	@cd "$$(mktemp -d)" && apt-get -qq download prometheus 2>/dev/null || { $(APT) update && apt-get -qq download prometheus; } \
	  && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xOf - ./usr/bin/promtool > promtool && chmod +x promtool && mv promtool "$(CURDIR)/$@"
