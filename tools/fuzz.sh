#!/usr/bin/env bash
# Runs every fuzz target of the repository for a while: fuzz.sh [TIME]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5s}

# Only packages that have a target are built for it.
for dir in $(grep -rlE --include='*_test.go' '^func Fuzz[A-Z]' . | grep -v '^\./\(bench\|tools\)/' | xargs -r -n1 dirname | sort -u); do
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | cut -c6- | sort -u); do
    echo "fuzz $dir $target"
    go test -C "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" . # $dir may be in a module of its own
  done
done
