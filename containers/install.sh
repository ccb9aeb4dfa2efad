#!/bin/sh
# usage: install.sh KEY=VALUE ...
# Installs the toolkit with its locked dependencies into /opt/venv, and records the keys and the versions of
# toolkit and Python in /opt/vmafarm/build.json and in the image's labels.
#
# %files has copied the sources beside this script:
#   requirements.lock
#   wheel/        the toolkit's wheel
#   wheelhouse/   the wheels of requirements.lock; empty: taken from the package index
set -eu
source=$(dirname "$0")

"$source/packages.sh" ca-certificates python3 python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "the base has $(python3 --version), but Python 3.11 or newer is needed: choose another RUN_FROM" >&2
    exit 1
}

echo "installing the toolkit and its locked dependencies"
python3 -m venv /opt/venv
pip() { /opt/venv/bin/python -I -m pip --quiet --disable-pip-version-check --no-cache-dir "$@"; }
if ls "$source"/wheelhouse/*.whl >/dev/null 2>&1; then
    pip install --require-hashes --no-deps --no-index --find-links "$source/wheelhouse" -r "$source/requirements.lock"
else
    pip install --require-hashes --no-deps --only-binary :all: -r "$source/requirements.lock"
fi
pip install --no-index --no-deps "$source"/wheel/*.whl

# /usr/local/bin is in the default PATH of every container runtime.
ln -s /opt/venv/bin/vmafarm /usr/local/bin/vmafarm
ln -s "$(/opt/venv/bin/python -I -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" \
    /usr/local/bin/ffmpeg

/opt/venv/bin/python -I -m vmafarm.images.inside record "$@"
rm -rf "$source"
