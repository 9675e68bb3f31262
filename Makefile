# The commands that README.md gives. Each says what it needs and installs what is missing.

# A Rust that was installed a minute ago is not in PATH yet, and sbin is not always in root's.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin:$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.PHONY: help demo test bench build

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## containers of three Docker hosts talk to each other (root; KEEP=1 leaves the hosts up)
	@tests/provide demo
	@echo "building the release binary (minutes the first time, nothing after that)"
	@cargo build --locked --release --package hopsack
	@exec target/release/hopsack demo $(if $(filter-out 0,$(KEEP)),--keep)

test: ## format, lints, all tests (root)
	@tests/provide test
	@tests/run

bench: ## what Hopsack costs beside what does without it (root; QUICK=1 for a rough look)
	@tests/provide bench
	@cargo bench --locked --package hopsack --bench bench

build: ## the release binary: target/release/hopsack
	@tests/provide build
	@cargo build --locked --release --package hopsack
