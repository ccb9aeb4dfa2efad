#!/bin/sh
# usage: build_vmaf.sh CHECKOUT PREFIX ENABLE_CUDA
# Builds the fork's library and its program `vmaf` from a checkout and installs both below PREFIX: today's source, whose
# library is in core/, and earlier ones, where it is in libvmaf/.
#
# Beside this script, as %files has copied them:
#   packages.sh   installs packages that are missing
#   meson.lock    the meson that is installed where the base's is too old for the source
#   wheelhouse/   may hold its wheel; else it is taken from the package index
set -eu
here=$(cd "$(dirname "$0")" && pwd)
checkout=$1 prefix=$2 enable_cuda=$3

refuse() { printf 'build_vmaf.sh: %s\n' "$*" >&2 && exit 1; }

# Prints the folder of the library.
find_library() {
    for folder in core libvmaf; do
        if [ -f "$1/$folder/meson.build" ]; then
            echo "$1/$folder"
            return
        fi
    done
    refuse "$1 is no source of the fork: there is no core/meson.build and no libvmaf/meson.build"
}

# Whether the source has an option of this name; meson refuses one that it does not know.
has_option() {
    for file in "$library/meson.options" "$library/meson_options.txt"; do
        if [ -f "$file" ] && tr '\n' ' ' < "$file" | grep -q "option( *'$1'"; then return 0; fi
    done
    return 1
}

# Prints the oldest meson that the source accepts; nothing if it does not say.
oldest_meson() {
    tr '\n' ' ' < "$library/meson.build" | sed -n "s/.*meson_version *: *'>= *\([0-9][0-9.]*\)'.*/\1/p"
}

is_at_least() { printf '%s\n' "$2" "$1" | sort --check=quiet --version-sort; }

# The base's meson if it is new enough, else the locked one.
choose_meson() {
    oldest=$(oldest_meson)
    if [ -z "$oldest" ] || is_at_least "$(meson --version)" "$oldest"; then return; fi
    echo "the base has meson $(meson --version), the source needs $oldest: installing the locked one"
    "$here/packages.sh" python3-venv
    python3 -m venv /opt/meson
    set -- --quiet --disable-pip-version-check --no-cache-dir install --require-hashes --no-deps -r "$here/meson.lock"
    if ls "$here"/wheelhouse/meson-*.whl >/dev/null 2>&1; then
        set -- "$@" --no-index --find-links "$here/wheelhouse"
    fi
    /opt/meson/bin/python -I -m pip "$@"
    PATH="/opt/meson/bin:$PATH"
}

accepts() { echo 'int x;' | "${CC:-cc}" "-std=$1" -x c -c -o /dev/null - 2>/dev/null; }

library=$(find_library "$checkout")
choose_meson

set -- --buildtype=release "--prefix=$prefix" --libdir=lib
# The last two are the defaults; named, because an image without them is of no use.
for option in "enable_cuda=$enable_cuda" enable_tests=false enable_docs=false enable_dnn=disabled \
    enable_tools=true built_in_models=true; do
    if has_option "${option%%=*}"; then set -- "$@" "-D$option"; fi
done
[ "$enable_cuda" != true ] || has_option enable_cuda || refuse "this source has no option enable_cuda"
# A source that asks for C23 alone: gcc before 14 knows it as c2x.
if grep -q "'c_std=c23'" "$library/meson.build" && ! accepts c23; then set -- "$@" -Dc_std=c2x; fi

# From inside the library's folder, because nvcc's include paths are relative; no -march=native, because nodes differ.
cd "$library"
meson setup build "$@"
meson compile -C build
meson install -C build --no-rebuild
