# Two commands: `make demo` and `make test`. Both install what is missing first (scripts/setup), on
# Debian 12.
#
#   demo      build, then run ranks that pool memory and move KV blocks (examples/kv_pool.py and
#             kv_pool.cc); with HOSTS=3 on three hosts, which are network namespaces (root)
#   test      build everything, run all tests: C++ by ctest, Python by pytest; results in
#             build/results/
#   bench     run the benchmarks and print each bar with pass or FAIL; BENCH_ARGS are
#             benchmarks/run.py's options
#   bench-peers  our TransferEngine against Mooncake's and NIXL, which come into build/others (1.2
#                GB); --quick in PEERS_ARGS
#   harsh     the tests again under a profiler's timer, and as an ordinary user in what a container
#             leaves
#   sanitize  the C++ tests again, under address+undefined and under thread sanitizers
#   fuzz      each fuzz target for FUZZ_SECONDS (20)
#   lint      include direction, formats, columns, headers alone, stubs and picture in step, names,
#             links
#   format    clang-format all C and C++ files, ruff all Python files
#   docs      check the pages' links, make the Python reference in build/docs
#   clean     remove what was built; .venv stays

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: demo test bench bench-peers harsh sanitize fuzz format lint docs clean setup

JOBS ?= $(shell nproc)
# With HOSTS: their namespaces; the ranks are dealt to them in turn.
ON_HOSTS := $(if $(HOSTS),scripts/hosts $(HOSTS))
HOST_ARGS := $(if $(HOSTS),--hosts {hosts} --listen 10.77.0.1)
PYTHON := PYTHONPATH=$(CURDIR)/build/release/python .venv/bin/python

demo: setup
	scripts/build release memfabric_demo
	$(ON_HOSTS) env $(PYTHON) examples/kv_pool.py $(HOST_ARGS) $(DEMO_ARGS)
	$(ON_HOSTS) build/release/examples/kv_pool $(HOST_ARGS) $(DEMO_ARGS)

test: setup
	scripts/build release
	scripts/run_tests

bench: setup
	scripts/build release
	$(PYTHON) benchmarks/run.py $(BENCH_ARGS)

bench-peers: setup
	scripts/build release memfabric_python
	$(PYTHON) benchmarks/peers.py $(PEERS_ARGS)

harsh: setup
	scripts/build release
	scripts/harsh

sanitize: setup
	scripts/sanitize

fuzz: setup
	scripts/build asan memfabric_fuzz_targets
	/usr/bin/python3 scripts/fuzz.py

lint: setup
	scripts/build release
	/usr/bin/python3 scripts/lint.py

format: setup
	git ls-files -z --cached --others --exclude-standard '*.h' '*.cc' '*.c' | xargs -0 -r clang-format-14 -i
	git ls-files -z --cached --others --exclude-standard '*.py' | xargs -0 -r .venv/bin/ruff format --quiet

docs: setup
	scripts/check_links.py
	scripts/build release memfabric_python
	$(PYTHON) scripts/reference.py

clean:
	rm -rf build dist bench-results.json
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

setup:
	@scripts/setup
