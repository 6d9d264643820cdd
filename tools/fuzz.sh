#!/usr/bin/env bash
# Runs every fuzz target of the module for a while: fuzz.sh [TIME]
#
# Each package that has targets is built once for all of them, and as many
# targets run at a time as there are processors, with one worker each: a target
# gets its whole TIME, and the lot ends in a fraction of it.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5s}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What was found worth keeping in earlier runs, as go test -fuzz keeps it.
cache=$(go env GOCACHE)/fuzz

# One target. Until Go 1.27 the end of -fuzztime can pass for a failure
# (go.dev/issue/75804): that, and nothing else, is no finding. A finding writes
# the input that fails below the package's testdata, or says why.
fuzz() { # directory, import path, binary, target
  local log=$3.$4.log
  if (cd "$1" && exec "$3" -test.run '^$' -test.fuzz "^$4\$" -test.fuzztime "$time" -test.fuzzcachedir "$cache/$2" -test.parallel 1) >"$log" 2>&1; then
    echo "fuzz $1 $4: $(grep '^fuzz: elapsed' "$log" | tail -n 1 | cut -d' ' -f2-)"
    return
  fi
  echo "fuzz $1 $4"
  cat "$log"
  if grep -qE 'Failing input|panic|_test\.go:[0-9]+' "$log" || ! grep -qx '    context deadline exceeded' "$log"; then
    return 1
  fi
  echo "fuzz: $4 found nothing; the end of its time was taken for a failure"
}
export -f fuzz
export time cache

# Only packages that have a target are built for it. The directory may be in a
# module of its own.
n=0
while read -r dir; do
  n=$((n + 1))
  go test -C "$dir" -c -fuzz . -o "$work/$n.test" . >&2
  path=$(go list -C "$dir" .)
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | cut -c6- | sort -u); do
    echo "$dir $path $work/$n.test $target"
  done
done < <(grep -rlE --include='*_test.go' '^func Fuzz[A-Z]' . | grep -v '^\./\(bench\|tools\)/' | xargs -r -n1 dirname | sort -u) >"$work/targets"

xargs -P "$(nproc)" -L 1 bash -c 'fuzz "$@"' fuzz <"$work/targets"
