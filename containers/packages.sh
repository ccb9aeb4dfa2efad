#!/bin/sh
# usage: packages.sh PACKAGE ...
# Installs the Debian or Ubuntu packages that are missing; needs no network if none is.
set -eu

missing=""
for package; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || state=none
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
# shellcheck disable=SC2086 # names of packages, to be split
apt-get install --quiet --yes --no-install-recommends $missing
rm -rf /var/lib/apt/lists/*
