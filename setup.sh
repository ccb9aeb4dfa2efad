#!/bin/sh
# usage: setup.sh FOLDER LOCKFILE... [.]
# Makes a virtual environment, installs the packages of the lock files, whose hashes are required, and with "."
# this checkout; says what it does, at least every ten seconds.
#   PYTHON   the interpreter
#   UV       uv, which takes half the time; empty: pip
# The result is the same either way: the same packages, with their bytecode.
set -eu
folder=$1
shift
start=$(date +%s)

seconds() { echo $(($(date +%s) - start)); }

# What is silent for long runs in front, so that Ctrl-C reaches it; this ends with the script, however that ends.
keep_telling() {
    trap 'kill $! 2>/dev/null; exit' TERM
    while true; do
        sleep 10 &
        wait $!
        kill -0 $$ 2>/dev/null || exit
        echo "    ... $(seconds) s, $(du -sm "$folder" | cut -f1) MB"
    done
}

install() {
    if [ -n "$UV" ]; then
        "$UV" pip install --quiet --python "$folder/bin/python" --compile-bytecode "$@" || {
            echo "error: $UV could not install the packages; to do it with pip: make UV= setup"
            exit 3
        }
    else
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    fi
}

# uv does not read pip's configuration, which may name the index of a site.
if [ -n "$UV" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    index=${PIP_INDEX_URL:-$("$PYTHON" -m pip config get global.index-url 2>/dev/null || true)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
fi

if [ ! -x "$folder/bin/python" ]; then
    echo "setting up $folder with $("$PYTHON" --version) and ${UV:-pip}"
    if [ -n "$UV" ]; then
        "$UV" venv --quiet --allow-existing --no-project --python "$(command -v "$PYTHON")" "$folder"
    elif ! "$PYTHON" -m venv "$folder"; then
        rm -rf "$folder"
        echo "error: $PYTHON cannot make a virtual environment"
        echo "  install its venv module (Debian, Ubuntu: python3-venv), or uv"
        exit 3
    fi
elif [ -z "$UV" ] && ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "error: $folder has no pip: it was not set up to its end, by uv"
    echo "  make it anew: make clean setup"
    exit 3
fi

locks=
checkout=
for name in "$@"; do
    if [ "$name" = . ]; then checkout=yes; else locks="$locks $name"; fi
done
# shellcheck disable=SC2086 # names of lock files have no blanks
requirements=$(printf -- ' -r %s' $locks)
# shellcheck disable=SC2086
packages=$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' $locks | sort -u | wc -l)

keep_telling &
teller=$!
trap 'kill $teller 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM HUP
echo "  packages of$locks: $packages at most"
# shellcheck disable=SC2086
install --require-hashes --no-deps $requirements
if [ -n "$checkout" ]; then
    echo "  this checkout"
    install --no-deps --no-build-isolation -e .
fi
echo "  done in $(seconds) s: $folder has $(du -sm "$folder" | cut -f1) MB"
