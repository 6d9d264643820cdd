#!/usr/bin/env bash
# Runs the end-to-end tests: e2e.sh [FLAGS for the tests]
# Which clients were skipped is printed before go test's own output, because go
# test says nothing of what a package that passes printed.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache
status=0
PATH="$PWD/.cache/bin:$PATH" go test -timeout 20m ./internal/e2e -args "$@" >.cache/e2e.log 2>&1 || status=$?
if [[ -s .cache/e2e-skipped.txt ]]; then
  echo "SKIPPED on this machine:"
  sed 's/^/  /' .cache/e2e-skipped.txt
fi
cat .cache/e2e-conformance-*.txt 2>/dev/null || true
cat .cache/e2e.log
exit "$status"
