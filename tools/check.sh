#!/bin/sh
# check.sh [PYTEST ARGUMENTS]: lint, types, import contracts, then the tests, which come last so that their closing line
# is the last word. All four run whatever the others said; the exit code is 1 if any of them failed.
set -u
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH:/usr/sbin:/sbin"
export PATH
failed=""

say() { printf '\n== %s\n' "$1"; }

say "ruff"
ruff check . || failed="$failed ruff"
say "mypy"
mypy || failed="$failed mypy"
say "import contracts"
lint-imports || failed="$failed lint-imports"
say "pytest"
[ -z "$failed" ] || echo "failed so far:$failed"
pytest "$@" || failed="$failed pytest"
if [ -n "$failed" ]; then
    echo "failed:$failed" >&2
    exit 1
fi
