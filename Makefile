# The commands that README.md gives. Each says what it needs and installs what is missing.

# A Rust that was installed a minute ago is not in PATH yet, and sbin is not always in root's.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin:$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Linked statically: the program runs on any Linux of this architecture, whatever its C library. Only the last crate is
# compiled so, which is enough, and leaves the others' builds as they are.
release = cargo rustc --locked --release --package hopsack --bin hopsack -- -C target-feature=+crt-static

.PHONY: help demo test bench build deb

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## containers of three Docker hosts talk to each other (root; KEEP=1 leaves the hosts up)
	@tests/provide demo
	@echo "building the release binary (minutes the first time, nothing after that)"
	@$(release)
	@exec target/release/hopsack demo $(if $(filter-out 0,$(KEEP)),--keep)

test: ## format, lints, all tests (root)
	@tests/provide test
	@tests/run

bench: ## what Hopsack costs beside what does without it (root; QUICK=1 for a rough look)
	@tests/provide bench
	@cargo bench --locked --package hopsack --bench bench

build: ## the release binary, static: target/release/hopsack
	@tests/provide build
	@$(release)

deb: build ## the Debian package: target/deb/hopsack_VERSION_ARCHITECTURE.deb
	@packaging/deb target/release/hopsack target/deb
