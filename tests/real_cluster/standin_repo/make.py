"""Writes git repositories that stand in for the fork and for nv-codec-headers.

``python make.py FOLDER`` makes both, and prints the build arguments that name them, one a line.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent.parent
sys.path.insert(0, str(TESTS))

from standin.misbehaviour import MISBEHAVIOURS  # noqa: E402
from standin.vmaf import write_standin  # noqa: E402

_NOBODY = {
    **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in
       (("NAME", "stand-in"), ("EMAIL", "stand-in@example.invalid"), ("DATE", "2026-01-01T00:00:00+00:00"))},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}  # fmt: skip


@dataclass(frozen=True)
class Repository:
    """A git repository on disk and its one commit."""

    path: Path
    commit: str


def make_fork(
    folder: Path,
    *,
    misbehave: str = "",
    lacks: Iterable[str] = (),
    with_program: bool = True,
    layout: str = "core",
) -> Repository:
    """The fork's layout, which builds and installs the stand-in `standin.vmaf`.

    Parameters
    ----------
    folder
        New folder of the repository.
    misbehave, lacks
        See `standin.vmaf.write_standin`.
    with_program
        False: its build installs the library and no program.
    layout
        "core": as today, with more options and a newer meson. "libvmaf": as in May 2026.
    """
    shutil.copytree(HERE / "fork", folder)
    tree = folder / "libvmaf"
    if layout == "core":
        tree = tree.rename(folder / "core")
        shutil.copyfile(HERE / "today" / "meson_options.txt", tree / "meson_options.txt")
        build = tree / "meson.build"
        build.write_text(_of_today(build.read_text()))
    shutil.copytree(TESTS / "standin", tree / "standin", ignore=shutil.ignore_patterns("__pycache__"))
    for name, how in (("settings.json", misbehave), ("settings-without-models.json", "no_models")):
        write_settings(tree / name, misbehave=how, lacks=lacks)
    if not with_program:
        (tree / "tools" / "meson.build").write_text("# this commit has no program\n")
    return _commit(folder)


def _of_today(text: str) -> str:
    for old, new in (
        ("meson_version : '>= 0.56.1'", "meson_version : '>= 1.4.0'"),
        ("default_options : [", "default_options : ['c_std=c23,c2x,c17,none', 'cpp_std=c++26,c++23,c++20', "),
        ("if get_option('enable_cuda')", "if get_option('enable_dnn').auto()\n    error('ONNX')\nendif\n{}"),
    ):
        if text.count(old) != 1:
            raise ValueError(f"the stand-in's meson.build has not one {old!r}")
        text = text.replace(old, new.format(old) if "{}" in new else new)
    return text


def make_headers(folder: Path) -> Repository:
    """nv-codec-headers' layout, with the two headers that the fork asks for."""
    shutil.copytree(HERE / "headers", folder)
    return _commit(folder)


def write_settings(path: Path, *, misbehave: str = "", lacks: Iterable[str] = ()) -> Path:
    """Settings of the stand-in; bound over the image's own they change what a built image does."""
    with tempfile.TemporaryDirectory() as scratch:
        program = write_standin(Path(scratch), misbehave=misbehave, lacks=lacks)
        shutil.copyfile(program.parent / "settings.json", path)
    return path


def _commit(folder: Path) -> Repository:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", folder, *arguments],
            env={**os.environ, **_NOBODY},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()

    git("init", "--quiet", "--initial-branch", "master")
    git("add", "--all")
    git("commit", "--quiet", "--message", "stand-in")
    return Repository(folder, git("rev-parse", "HEAD"))


def main() -> None:
    """Make both repositories in a new folder, and in published/ the source of a published image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--misbehave", choices=sorted(MISBEHAVIOURS), default="")
    parser.add_argument("--lacks", action="append", default=[], metavar="EXTRACTOR")
    parser.add_argument("--without-program", action="store_true")
    options = parser.parse_args()
    folder = options.folder.absolute()
    fork = make_fork(
        folder / "vmaf",
        misbehave=options.misbehave,
        lacks=options.lacks,
        with_program=not options.without_program,
    )
    headers = make_headers(folder / "nv-codec-headers")
    make_fork(folder / "published", layout="libvmaf")  # builds with the base's own meson
    for name, repository in (("VMAF", fork), ("NV_CODEC_HEADERS", headers)):
        print(f"{name}_REPO={repository.path}")
        print(f"{name}_REF={repository.commit}")


if __name__ == "__main__":
    main()
