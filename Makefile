# make run     build and serve, with no configuration at all
# make test    everything, including what it needs installed
# make golden  the cases of mirror rules by the command line, with their counts

BIN := bin/entrepot
UNIT = $(shell go list ./... | grep -v /internal/e2e)
ADAPTER := adapter/ggcr
STATICCHECK := go tool -modfile=tools/go.mod staticcheck

.PHONY: all build run test deps lint vuln race unit fuzz golden e2e oracle bench clean

all: build

build:
	go build -trimpath -o $(BIN) ./cmd/entrepot

run: build
	$(BIN) serve

# What ends last is go test's own output, so that a log's tail shows the verdict.
test: deps lint unit fuzz e2e

# Tools and clients that the tests use. Without root or a network they are left
# out, and the tests that need them are skipped by name.
deps:
	tools/testdeps.sh

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt is needed by:" $$unformatted >&2; exit 1; fi
	go vet ./...
	go vet -C bench ./...
	go vet -C $(ADAPTER) ./...
	$(STATICCHECK) ./...
	cd $(ADAPTER) && go tool -modfile=$(CURDIR)/tools/go.mod staticcheck ./...

# Known holes in what the binary is made of, by the Go vulnerability database.
# It is no part of test: that needs module proxies alone, and does not fail one
# day for what was true the day before.
vuln:
	go tool -modfile=tools/go.mod govulncheck ./...

# The long variants of store's: go test ./store -run 'TestFault22Storm|TestCollectModel' -storm 1h -model-states -1 -timeout 3h
race unit:
	go test -C $(ADAPTER) -race ./...
	go test -race $(UNIT)

# Every fuzz target for FUZZTIME; a found crash becomes a case below testdata.
FUZZTIME := 5s
fuzz:
	tools/fuzz.sh $(FUZZTIME)

# Every golden case of the mirror rules by the command line, with the counts.
golden:
	go test -count=1 -v -run '^TestGolden' ./internal/e2e

# Real clients, the kill loop, the conformance suite. E2EFLAGS go to the tests:
# make e2e E2EFLAGS='-kills 1000 -require-clients', or -slow-clients 10000, -streams 1000, -soak 5m
E2EFLAGS :=
e2e:
	tools/e2e.sh $(E2EFLAGS)

# The rules' readers beside the clients' own code; see internal/oracle. It is no
# part of test, because building it takes four minutes of a core. To look for
# differences for longer: make oracle ORACLEFLAGS='-v -args -duration 1h -seed 7'
ORACLEFLAGS :=
oracle:
	go vet -C internal/oracle ./...
	go test -C internal/oracle ./... $(ORACLEFLAGS)

# Beside real peers; see bench/. BENCHFLAGS='-quick' for a first impression.
BENCHFLAGS :=
bench: deps
	go run -C bench . $(BENCHFLAGS)

clean:
	rm -rf bin .cache
