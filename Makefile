# What one does here day to day. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test explore fuzz lint guard fmt e2e bench release profile stages volume flood scale beside streams shed soak torture

# What is started in `make run`: arguments for `cfx dev`, e.g. `make run ARGS="--http 127.0.0.1:9000"`.
ARGS ?=
# Tests by name, e.g. `make test FILTER=quota`.
FILTER ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## build and start cfx with an embedded store, a certificate and, without LITELLM_BASE_URL, an echo model
	@scripts/setup build
	@scripts/quiet-build
	@cargo run --quiet -- dev $(ARGS)

test: ## every test but the long ones
	@scripts/setup build test
	@scripts/test $(FILTER)

explore: ## what tests draw at random, drawn anew and a hundred times as often; ten minutes; PROPTEST_CASES
	@scripts/setup build test
	@PROPTEST_CASES=$${PROPTEST_CASES:-20000} cargo test --lib -- $(or $(FILTER),quota::tests::model json rewrite tap spool framing)

fuzz: ## hostile configurations, bodies, streams, keys, heads, greetings for a minute each; FUZZ_SECONDS, FUZZ_RUNS, FUZZ_SEED, FILTER=tap
	@scripts/setup build
	@scripts/fuzz $(FILTER)

lint: ## rustfmt, clippy with warnings denied, cargo-deny, the import table, guard
	@scripts/setup build lint guard
	@scripts/lint

guard: ## instructions of each stage of a request, within 2 % of benches/counts.toml; ACCEPT=1 writes them anew, KEEP=DIR keeps callgrind's files
	@scripts/setup build guard
	@scripts/guard

fmt: ## format the sources
	@cargo fmt --all

e2e: ## the SDKs through cfx and a real LiteLLM proxy, a Next.js application, the dashboard in a browser; ten minutes; FILTER=test_dashboard
	@scripts/setup build e2e
	@scripts/e2e $(FILTER)

bench: ## cfx beside a bare pingora proxy, nginx, HAProxy, onwards, Portkey and LiteLLM, in turns, into docs/performance.md; wants a quiet machine and 25 minutes, QUICK=1 six; ARGS=--no-streams
	@scripts/setup build test bench
	@scripts/bench $(if $(QUICK),--quick) $(ARGS)

release: ## cfx as it is shipped, in target/release: built by the profile of what it does under load (pgo/)
	@scripts/setup build release
	@scripts/release-build

profile: ## counts anew what cfx does under load, into pgo/; half an hour
	@scripts/setup build test profile
	@scripts/profile

stages: ## instructions, allocations and system calls of a chat request and of a stream's event, by stage, into docs/where-the-time-goes.md; ARGS=--dry
	@scripts/setup build test bench stages
	@scripts/stages $(ARGS)

volume: ## CPU per request and the dashboard's questions over a million keys and ten million log rows; ten minutes
	@scripts/setup build test bench
	@scripts/volume

flood: ## more than 10,000 invented keys a second against the door, beside an honest client
	@scripts/setup build test bench
	@scripts/flood

scale: ## a hundred edges over one Postgres and one Redis: exact, and what a million requests costs the two; docs/scale.md; five minutes; SCALE_PROFILE, ARGS=--dry
	@scripts/setup build test
	@scripts/scale $(ARGS)

beside: ## chat requests while the dashboard is overrun and killed
	@scripts/setup build test bench
	@scripts/beside

streams: ## 10,000 open streams, plain and TLS: memory of each, tokens on time; then 20 fast ones; twenty minutes
	@scripts/setup build bench
	@scripts/streams $(ARGS)
	@scripts/streams --chunks

shed: ## ten times the clients that an edge takes, then 500 uploads of 10 MB: who is served, how soon, at what memory
	@scripts/setup build bench
	@scripts/shed $(ARGS)

soak: ## the long tests: 10,000 requests of every kind, silence behind nginx, bad bytes before nginx and uvicorn, slow clients by the thousand, HTTP/2 by the ten thousand
	@scripts/setup build test soak
	@. scripts/tools.sh; export CFX_TEST_PYTHON="$$UVICORN_VENV/bin/python"; \
	  scripts/servers run cargo test --test edge -- --ignored --nocapture $(FILTER)
	@CFX_TEST_CROSSED=1 scripts/servers run cargo test --quiet --test control supabase_on

torture: ## kill -9 the edge under load 200 times on each store and count its rows; TORTURE_KILLS, TORTURE_SEED, TORTURE_STORE
	@scripts/setup build test
	@for store in $${TORTURE_STORE:-sqlite postgres}; do \
	  TORTURE_STORE=$$store scripts/servers run cargo test --test torture -- --ignored --nocapture; \
	done
