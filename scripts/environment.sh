# Sourced by the other scripts: makes .venv from a lock file, once per content of that file.
#   prepare_environment LOCK [LARGER_LOCK]     does nothing where either is installed already
# Needs a POSIX shell and any Python 3; finds or gets one that is new enough.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=$root/.venv
PYTHON=$venv/bin/python

say() { printf '%s\n' "$*" >&2; }

die() {
    say "Error: $1"
    shift
    for line in "$@"; do say "       $line"; done
    exit 1
}

# A python3.12 on PATH may be a shim that only prints an error: run it before believing it.
fits() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

find_python() {
    for version in 3.14 3.13 3.12; do
        # pyenv keeps its interpreters off PATH until one is chosen.
        for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
            if fits "$candidate"; then command -v "$candidate" && return; fi
        done
    done
    if fits python3; then command -v python3 && return; fi
    uv=$(command -v uv) || uv=$(get_uv) || return 1
    # An interpreter that is already here comes before a download of one.
    UV_PYTHON_DOWNLOADS=never "$uv" python find --no-project '>=3.12' 2>/dev/null && return
    say "Getting Python 3.13 with uv …"
    "$uv" python install --quiet 3.13 && "$uv" python find --no-project 3.13
}

get_uv() {
    say "No Python 3.12 or newer on PATH; installing uv to find or get one …"
    # Kept out of the way of the system's Python, which may refuse to install packages.
    python3 -m venv "$venv.uv" >&2 && "$venv.uv/bin/python" -m pip install --quiet uv >&2 || return 1
    echo "$venv.uv/bin/uv"
}

stamp() {
    echo "$venv/$1-$(cat "$root/$1" "$root/pyproject.toml" | cksum | tr ' ' '-')"
}

prepare_environment() {
    for lock in "$@"; do
        if [ -e "$(stamp "$lock")" ] && [ -x "$PYTHON" ]; then return; fi
    done
    if ! fits "$PYTHON"; then
        interpreter=$(find_python) || die "Metrion needs Python 3.12 or newer, and none could be found or installed." \
            "Install one (for example: apt install python3.12 python3.12-venv, or brew install python@3.13)," \
            "then run this command again."
        say "Making .venv with $("$interpreter" --version) …"
        "$interpreter" -m venv --clear "$venv" ||
            die "$interpreter could not make a virtual environment in $venv (see above)." \
                "On Debian and Ubuntu its venv module is a package of its own: apt install python3-venv"
    fi
    say "Installing the locked dependencies ($1), about a minute …"
    { "$PYTHON" -m pip install -qq --disable-pip-version-check --require-hashes -r "$root/$1" &&
        "$PYTHON" -m pip install -qq --disable-pip-version-check --no-deps -e "$root"; } >&2 ||
        die "The dependencies could not be installed (see above)." \
            "A package index must be reachable; behind a proxy, set HTTPS_PROXY or pip's own configuration."
    : >"$(stamp "$1")"
    say "Ready."
}
