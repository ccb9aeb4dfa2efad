#!/bin/sh
# usage: fetch.sh REPOSITORY REF FOLDER
# Checks a commit of a git repository out into a new folder. REF is a commit, or a tag or branch and the beginning of the
# commit that it must be (v1.0.0@0123abc): a tag can be moved.
set -eu
repository=$1 ref=$2 folder=$3
case $ref in
    *@*) pinned=${ref##*@} ref=${ref%@*} ;;
    *) pinned='' ;;
esac

# A mirror on a shared disk may belong to another user.
git config --system --add safe.directory '*'
git init --quiet "$folder"
git -C "$folder" remote add origin "$repository"
if git -C "$folder" fetch --quiet --depth 1 origin "$ref"; then
    git -C "$folder" checkout --quiet --detach FETCH_HEAD
else # not every server offers a single commit by name
    git -C "$folder" fetch --quiet --tags origin
    git -C "$folder" checkout --quiet --detach "$ref"
fi

commit=$(git -C "$folder" rev-parse HEAD)
case $commit in
    "$pinned"*) ;;
    *)
        echo "fetch.sh: $ref of $repository is commit $commit, but $pinned was expected: the tag has been moved" >&2
        exit 1
        ;;
esac
