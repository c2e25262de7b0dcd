#!/bin/sh
# Prints the path of a Python that the gateway runs on (3.13 first, then 3.12, then any newer), or says in one sentence
# that there is none. PYTHON=/path/to/python overrides the search.
set -u

# Prints "3.13" and the like for a candidate that really starts, nothing for a shim that leads nowhere.
version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# fits CANDIDATE WANTED: WANTED is "3.13", "3.12" or "any" (at least 3.12). A venv and ensurepip must be there as well.
fits() {
    [ -x "$1" ] || return 1
    found=$(version "$1") || return 1
    case "$2:$found" in
        3.13:3.13 | 3.12:3.12 | any:3.1[2-9] | any:3.[2-9][0-9]) ;;
        *) return 1 ;;
    esac
    "$1" -c 'import venv, ensurepip' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
    candidate=$(command -v "$PYTHON" || true)
    if [ -n "$candidate" ] && fits "$candidate" any; then
        echo "$candidate"
        exit 0
    fi
    echo "PYTHON=$PYTHON is not a Python 3.12 or newer with the venv and ensurepip modules." >&2
    exit 1
fi

for wanted in 3.13 3.12 any; do
    for name in "python$wanted" python3 python; do
        candidate=$(command -v "$name" 2>/dev/null) || continue
        if fits "$candidate" "$wanted"; then
            echo "$candidate"
            exit 0
        fi
    done
    for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3 /opt/python*/bin/python3 /usr/local/bin/python3*; do
        if fits "$candidate" "$wanted"; then
            echo "$candidate"
            exit 0
        fi
    done
done
echo "The gateway needs Python 3.13 or 3.12 with its venv module (on Debian: python3-venv); none was found." \
    "Install one, or name it: make PYTHON=/path/to/python3.13 env" >&2
exit 1
