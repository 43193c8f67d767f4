# The commands of this repository; what they do stands in scripts/ and bench/.
.DEFAULT_GOAL := help
.PHONY: run test lint bench openapi fuzz clean help

run: ## build the release and start Carillon on embedded SQLite with the sandbox carrier
	@scripts/setup build
	cargo run --release --locked -p carillon -- serve

test: ## install what the tests need, then lints and every test on SQLite and PostgreSQL
	scripts/test

lint: ## format, clippy and dependencies
	scripts/lint

bench: ## load scenarios on this machine; prints a table for bench/RESULTS.md
	bench/run

openapi: ## write openapi.json anew from the code
	cargo run --locked -p carillon -- openapi > openapi.json.new && mv openapi.json.new openapi.json

fuzz: ## fuzz each target for a minute (needs a nightly toolchain and cargo-fuzz)
	scripts/fuzz 60

clean: ## remove what was built
	cargo clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10
