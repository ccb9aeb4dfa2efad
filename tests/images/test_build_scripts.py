"""The shell scripts that build the fork's program, with stand-ins for meson and the compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.engine_helpers import write_program
from support.errors_document import documented

ROOT = Path(__file__).parents[2]
MAY = """\
option('enable_tests', type: 'boolean', value: true)
option('enable_docs', type: 'boolean', value: true)
option('enable_cuda', type: 'boolean', value: false)
"""
TODAY = """\
option('enable_tests',
    type: 'boolean',
    description: 'Build with enable_docs off: option(enable_docs) is gone')

option( 'enable_tools', type: 'boolean', value: true)
option('built_in_models', type: 'boolean', value: true)
option('enable_cuda', type: 'boolean', value: false)
option('enable_dnn', type: 'feature', value: 'auto')
"""


def make_tree(
    folder: Path, library: str, options: str, *, oldest: str = "0.56.1", standard: str = "c23,c2x,c17"
) -> Path:
    (folder / library).mkdir(parents=True)
    (folder / library / "meson_options.txt").write_text(options)
    (folder / library / "meson.build").write_text(
        "# needs meson_version 9.9\nproject('libvmaf', ['c', 'cpp'],\n"
        f"    default_options : ['c_std={standard}'],\n    meson_version : '>= {oldest}')\n"
    )
    return folder


class Bench:
    """Programs that note how they are called: meson, of a version, and a compiler of some standards."""

    def __init__(self, folder: Path) -> None:
        self.calls, self.bin, self.scripts = folder / "calls", folder / "bin", folder / "scripts"
        self.bin.mkdir()
        shutil.copytree(ROOT / "containers", self.scripts)
        self.calls.touch()
        self.has_meson("1.0.1")
        self.accepts("c2x|c17")

    def has_meson(self, version: str) -> None:
        script = f'[ "$1" != --version ] || {{ echo {version}; exit; }}\necho "$PWD: $*" >> {self.calls}\n'
        write_program(self.bin / "meson", script)

    def accepts(self, standards: str) -> None:
        write_program(self.bin / "cc", f'case "${{1#-std=}}" in {standards}) ;; *) exit 1 ;; esac\n')

    def build(self, checkout: Path, cuda: str = "true") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.scripts / "build_vmaf.sh", checkout, "/opt/vmaf", cuda],
            env={**os.environ, "PATH": f"{self.bin}:/usr/bin:/bin"}, capture_output=True, text=True,
        )  # fmt: skip

    def setup(self) -> tuple[str, set[str]]:
        """Folder in which meson was set up, and the options of the source and of the compiler."""
        folder, _, arguments = self.calls.read_text().splitlines()[0].partition(": ")
        assert arguments.startswith("setup build --buildtype=release --prefix=/opt/vmaf --libdir=lib")
        return folder, {word for word in arguments.split() if word.startswith("-D")}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("library", "options", "given"),
    [
        ("libvmaf", MAY, {"-Denable_cuda=true", "-Denable_tests=false", "-Denable_docs=false"}),
        (
            "core",
            TODAY,
            {
                *("-Denable_cuda=true", "-Denable_tests=false", "-Denable_dnn=disabled"),
                *("-Denable_tools=true", "-Dbuilt_in_models=true"),
            },
        ),
    ],
)
def test_source_of_either_layout_gets_the_options_that_it_has(
    bench: Bench, tmp_path: Path, library: str, options: str, given: set[str]
) -> None:
    checkout = make_tree(tmp_path / "fork", library, options)
    said = bench.build(checkout)
    assert said.returncode == 0, said.stderr
    assert bench.setup() == (str(checkout / library), given)
    assert [line.split(": ")[1].split()[0] for line in bench.calls.read_text().splitlines()] == [
        *("setup", "compile", "install")
    ]


def test_options_are_found_in_the_file_of_either_name(bench: Bench, tmp_path: Path) -> None:
    checkout = make_tree(tmp_path / "fork", "core", TODAY)
    (checkout / "core" / "meson_options.txt").rename(checkout / "core" / "meson.options")
    assert bench.build(checkout, "false").returncode == 0
    assert {"-Denable_cuda=false", "-Denable_dnn=disabled"} <= bench.setup()[1]


@pytest.mark.parametrize(
    ("standard", "accepted", "given"),
    [("c23", "c2x|c17", True), ("c23", "c23|c2x", False), ("c23,c2x,c17", "c2x|c17", False)],
)
def test_c23_alone_is_named_as_an_older_compiler_knows_it(
    bench: Bench, tmp_path: Path, standard: str, accepted: str, given: bool
) -> None:
    bench.accepts(accepted)
    assert bench.build(make_tree(tmp_path / "fork", "core", TODAY, standard=standard)).returncode == 0
    assert ("-Dc_std=c2x" in bench.setup()[1]) == given


def test_source_that_is_none_and_cuda_that_it_lacks_are_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = bench.build(tmp_path / "empty")
    assert said.returncode == 1
    assert "there is no core/meson.build and no libvmaf/meson.build" in said.stderr

    without = make_tree(tmp_path / "fork", "core", "option('enable_docs', type: 'boolean', value: true)\n")
    said = bench.build(without)
    assert (said.returncode, said.stderr) == (1, "build_vmaf.sh: this source has no option enable_cuda\n")
    assert bench.build(without, "false").returncode == 0


@pytest.mark.parametrize(("have", "enough"), [("1.10.0", True), ("1.4.0", True), ("1.3.2", False)])
def test_a_meson_that_is_too_old_is_replaced_by_the_locked_one(
    bench: Bench, tmp_path: Path, have: str, enough: bool
) -> None:
    """The build fails in this test where it would install packages and make /opt/meson."""
    bench.has_meson(have)
    write_program(bench.scripts / "packages.sh", 'echo "packages: $*" >&2; exit 7')
    said = bench.build(make_tree(tmp_path / "fork", "core", TODAY, oldest="1.4.0"))
    if enough:
        assert said.returncode == 0
    else:
        assert (said.returncode, said.stderr) == (7, "packages: python3-venv\n")
        assert f"the base has meson {have}, the source needs 1.4.0" in said.stdout


# fetch.sh


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    """A repository with two commits and the tag v1 on the first; and that commit."""
    folder = tmp_path / "repository"
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.invalid")

    def git(*arguments: str) -> str:
        command = ["git", "-C", folder, *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    folder.mkdir()
    git("init", "--quiet")
    for name in ("first", "second"):
        (folder / name).touch()
        git("add", "--all")
        git("commit", "--quiet", "--message", name)
    git("tag", "--annotate", "--message", "one", "v1", "HEAD~1")
    return folder, git("rev-parse", "HEAD~1")


def fetch(tmp_path: Path, repository: Path, ref: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GIT_CONFIG_SYSTEM": str(tmp_path / "gitconfig")}
    command = [ROOT / "containers" / "fetch.sh", repository, ref, tmp_path / "fetched"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("form", ["{commit}", "v1", "v1@{commit:.7}", "v1@{commit}"])
def test_a_commit_or_a_tag_is_fetched(tmp_path: Path, repository: tuple[Path, str], form: str) -> None:
    folder, commit = repository
    said = fetch(tmp_path, folder, form.format(commit=commit))
    assert said.returncode == 0, said.stderr
    assert {path.name for path in (tmp_path / "fetched").iterdir()} == {".git", "first"}


def test_a_tag_that_has_been_moved_is_refused(tmp_path: Path, repository: tuple[Path, str]) -> None:
    folder, commit = repository
    said = fetch(tmp_path, folder, "v1@0000000")
    assert said.returncode == 1
    assert f"v1 of {folder} is commit {commit}, but 0000000 was expected" in said.stderr
    documented("an image to build from a tag that has been moved")
