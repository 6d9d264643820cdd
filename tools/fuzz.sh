#!/usr/bin/env bash
# Runs every fuzz target of the module for a while: fuzz.sh [TIME]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# One target. Until Go 1.27 the end of -fuzztime can pass for a failure
# (go.dev/issue/75804): that, and nothing else, is no finding. A finding writes
# the input that fails, or says why.
fuzz() { # directory, target
  echo "fuzz $1 $2"
  # The directory may be in a module of its own.
  if go test -C "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" . >"$log" 2>&1; then
    tail -n 2 "$log"
    return
  fi
  cat "$log"
  if grep -qE 'Failing input|panic|_test\.go:[0-9]+|build failed' "$log" || ! grep -qx '    context deadline exceeded' "$log"; then
    return 1
  fi
  echo "fuzz: $2 found nothing; go test took the end of its time for a failure"
}

# Only packages that have a target are built for it.
for dir in $(grep -rlE --include='*_test.go' '^func Fuzz[A-Z]' . | grep -v '^\./\(bench\|tools\)/' | xargs -r -n1 dirname | sort -u); do
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | cut -c6- | sort -u); do
    fuzz "$dir" "$target"
  done
done
