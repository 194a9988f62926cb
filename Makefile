SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE    ?= sluice:$(VERSION)
PKG      ?= ./...
FUZZTIME ?= 1m
BENCH    ?= .
COUNT    ?= 1
SEED     ?= 0
CHAOS_FOR ?= 1m
ARGS     ?=

# Most tests wait most of the time: for a program, a browser, a visitor's turn.
PARALLEL = $(shell echo $$((2 * $$(nproc))))

# The race detector allocates, and slows down what computes tenfold. So what counts
# allocations, and what is long and does one thing after the other, stands in files that
# are built without it, and runs by itself; so does what is held to a time or to memory.
UNRACED = $(shell grep -rlx --include='*_test.go' '//go:build !race' .)
UNRACED_TESTS = $(shell sed -n 's/^func \(Test[A-Za-z0-9_]*\).*/\1/p' $(UNRACED) | paste -sd '|')

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

.PHONY: test
test: deps ## every test, nothing skipped; installs redis-server, nginx, chromium and the like where missing
	GORACE=atexit_sleep_ms=0 SLUICE_TEST_REQUIRE=1 go test -race -shuffle=on -p $(PARALLEL) -parallel $(PARALLEL) ./...
	SLUICE_TEST_REQUIRE=1 go test -shuffle=on -run '^($(UNRACED_TESTS))$$' $(sort $(dir $(UNRACED)))
	SLUICE_TEST_REQUIRE=1 go test -run '^(TestFlashSale|TestFlood)$$' ./cmd/sluice

.PHONY: check
check: format vet staticcheck build test ## all that a change must pass: format, vet, staticcheck, build, test

.PHONY: format
format: ## fails where gofmt would change a file
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "gofmt would change:"; echo "$$files"; exit 1; }

.PHONY: vet
vet: ## go vet
	go vet ./...

.PHONY: staticcheck
staticcheck: ## staticcheck, at the version of tools.mod
	go tool -modfile=tools.mod staticcheck ./...

.PHONY: build
build: ## the binary, static, as bin/sluice
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sluice ./cmd/sluice

.PHONY: fuzz
fuzz: ## every fuzz target for a minute each; PKG=./gate/token FUZZTIME=10s
	@go test -list '^Fuzz' $(PKG) \
	| awk '/^Fuzz/ {name[n++] = $$1} /^ok/ {for (i = 0; i < n; i++) print $$2, name[i]; n = 0}' \
	| while read -r package target; do \
		echo "== $$package $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null; \
	done

.PHONY: soak
soak: deps ## what takes long: bodies of 2 GB, an hour of streams; SOAK_FOR=5m
	SLUICE_TEST_REQUIRE=1 go test -count=1 -tags soak -timeout 3h -v -run '^TestSoak' ./cmd/sluice

.PHONY: bench
bench: ## benchmarks; PKG=./gate/token BENCH=Verify COUNT=10
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) $(PKG)

.PHONY: spike
spike: ## 80,000 visitors within ten seconds at gates on this machine; the report is spike.html
	GOGC=$${GOGC:-400} go run ./loadtest/spike --report spike.html

.PHONY: restart
restart: ## 10,000 requests a second while one gate follows another on this machine; fails if any request does
	go run ./loadtest/restart

.PHONY: chaos
chaos: deps ## things break while people wait, drawn from SEED, for CHAOS_FOR; ARGS=--race, ARGS='--only store-*'
	go run ./loadtest/chaos --seed $(SEED) --for $(CHAOS_FOR) $(ARGS)

.PHONY: flood
flood: ## 100,000 programs a minute join a line of 10,000 people, and never come back: what they cost; ARGS='--max-waiting 30000'
	go run ./loadtest/flood $(ARGS)

.PHONY: peers
peers: ## what a request costs here, beside nginx, HAProxy and bare fasthttp; needs haproxy too
	go run ./loadtest/peers --budget

.PHONY: costs
costs: ## what a line costs its store, from a thousand to five million waiting
	go run ./queue/queuetest/cost --check

.PHONY: alerts
alerts: ## the tests of the alerts in deploy/prometheus, by promtool (of Debian's prometheus); make test leaves them out
	@command -v promtool >/dev/null || { echo 'promtool is not here, so the alerts were not tested: it comes with Debian'"'"'s package prometheus'; exit 1; }
	promtool check rules deploy/prometheus/rules.yml
	cd deploy/prometheus && promtool test rules rules_test.yml

.PHONY: pgo
pgo: ## the profile that guides the compiler, anew, from gates in a rehearsed sale
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	SLUICE_CPUPROFILE="$$dir/%d.pprof" go run ./loadtest/spike --script loadtest/scripts/profile.yaml --rate 2000/s --burst 200; \
	go tool pprof -proto "$$dir"/*.pprof >cmd/sluice/default.pgo

.PHONY: demo
demo: build ## a shop, a gate and a crowd; prints the address to open
	bin/sluice demo

.PHONY: image
image: ## the container image
	docker build --build-arg VERSION='$(VERSION)' -t '$(IMAGE)' .

.PHONY: deps
deps: ## install what the tests need from Debian
	@.ci/deps
