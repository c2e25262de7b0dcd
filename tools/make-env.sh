#!/bin/sh
# make-env.sh run|test: makes .venv where it is missing and installs a hashed lock into it, then the project itself.
# No index is named anywhere: pip uses the one this machine is set up for.
set -eu
kind=$1
cd "$(dirname "$0")/.."

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
    python=$(tools/find-python.sh)
    python=$("$python" -c "import sys; print(sys.executable)")
    echo "Making .venv with $python"
    rm -rf .venv
    "$python" -m venv .venv
fi
version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
lock=requirements/$kind-$version.txt
if [ ! -f "$lock" ]; then
    echo "There is no lock for Python $version: $(ls requirements/"$kind"-*.txt | tr '\n' ' ')are there. Use 3.13 or 3.12, or run make lock." >&2
    exit 1
fi
.venv/bin/python -m pip --disable-pip-version-check install -qq --require-hashes --only-binary :all: -r "$lock"
# hatchling and editables are in the lock: the build of the project asks no index.
.venv/bin/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation --editable .
touch ".venv/.stamp-$kind"
[ "$kind" = run ] || touch .venv/.stamp-run
echo "The environment is ready: .venv ($lock)"
