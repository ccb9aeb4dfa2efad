"""Building images, without Apptainer: what is refused, what it is asked to do, what is recorded."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.errors_document import documented

from vmafarm import __version__
from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError
from vmafarm.images.apptainer import find_apptainer
from vmafarm.images.build import build_image, default_output, find_checkout, prepare_sources
from vmafarm.images.sif import check_sif, read_digest, read_labels

ROOT = Path(__file__).parents[2]
GPU, CPU = ROOT / "apptainer.def", ROOT / "containers" / "cpu.def"
PUBLISHED = ROOT / "containers" / "published.def"
SIF_HEAD = b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0"

FAKE = (
    f"SIF_HEAD = {SIF_HEAD!r}\n"
    + """\
import json, os, pathlib, sys, time
folder = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("apptainer version 1.4.5")
elif arguments[0] == "build":
    here = pathlib.Path.cwd()
    files = sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())
    recipe = pathlib.Path("image.def").read_text()
    call = {"arguments": arguments, "files": files, "pid": os.getpid(), "recipe": recipe}
    (folder / "call.json").write_text(json.dumps(call))
    how = (folder / "how").read_text()
    print("INFO:    Starting build...", flush=True)
    if how == "hang":
        time.sleep(300)
    if how:
        print(how, file=sys.stderr)
        sys.exit(255)
    pathlib.Path(arguments[-2]).write_bytes(SIF_HEAD + b"new image")
elif arguments[0] == "inspect":
    labels = {"vmafarm.version": "0.1.0", "vmafarm.cuda": "13.0", "org.label-schema.usage": "x"}
    print(json.dumps({"data": {"attributes": {"labels": labels}}, "type": "container"}))
"""
)


class Apptainer:
    """The fake: how it ends, and how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "fake.py").write_text(FAKE)
        program = folder / "apptainer"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder}/fake.py" "$@"\n')
        program.chmod(0o755)
        self.end_with("")

    def end_with(self, how: str) -> None:
        (self.folder / "how").write_text(how)

    @property
    def call(self) -> dict[str, Any]:
        return json.loads((self.folder / "call.json").read_text())

    @property
    def was_asked_to_build(self) -> bool:
        return (self.folder / "call.json").exists()


@pytest.fixture
def apptainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apptainer:
    """A fake program in PATH; the working folder is an empty one."""
    fake = Apptainer(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}:{os.environ['PATH']}")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return fake


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `prepare_sources` puts together, once for all builds."""
    folder = tmp_path_factory.mktemp("sources") / "source"
    prepare_sources(ROOT, folder, None)
    return folder


@pytest.fixture
def prepared(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the wheel that has been built already."""

    def copy(checkout: Path, folder: Path, wheelhouse: Path | None) -> Path:
        shutil.copytree(sources, folder)
        return next((folder / "wheel").iterdir())

    monkeypatch.setattr("vmafarm.images.build.prepare_sources", copy)


def build(recipe: Path = CPU, output: str = "x.sif", **options: Any) -> Any:
    return build_image(recipe, Path(output), say=lambda line: None, **options)


# The build


@pytest.mark.usefixtures("prepared")
def test_image_is_built_by_apptainer_and_recorded_with_its_digest(apptainer: Apptainer) -> None:
    lines: list[str] = []
    built = build_image(CPU, arguments=["RUN_FROM=debian:13"], binds=["/etc/ca:/mnt:ro"], say=lines.append)

    assert built.path == Path.cwd() / "vmafarm-cpu.sif"
    assert "INFO:    Starting build..." in lines
    digest = hashlib.sha256(built.path.read_bytes()).hexdigest()
    assert built.digest == f"sha256:{digest}"
    record = json.loads(built.record.read_text())
    assert built.record.name == "vmafarm-cpu.sif.json"
    assert (record["sha256"], record["version"], record["recipe"]) == (digest, __version__, "cpu.def")
    assert record["arguments"] == {"RUN_FROM": "debian:13"}
    assert record["labels"] == built.labels == {"version": "0.1.0", "cuda": "13.0"}
    assert record["apptainer"] == "1.4.5"

    arguments = apptainer.call["arguments"]
    assert arguments[0] == "build"
    assert ("--fakeroot" in arguments) == (os.geteuid() != 0)
    assert "--build-arg RUN_FROM=debian:13" in " ".join(arguments)
    assert "--bind /etc/ca:/mnt:ro" in " ".join(arguments)
    assert apptainer.call["recipe"] == CPU.read_text()
    assert apptainer.call["files"] == [
        *("image.def", "source/build_vmaf.sh", "source/fetch.sh", "source/install.sh", "source/meson.lock"),
        *("source/packages.sh", "source/requirements.lock"),
        f"source/wheel/vmafarm-{__version__}-py3-none-any.whl",
    ]
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["vmafarm-cpu.sif", "vmafarm-cpu.sif.json"]


@pytest.mark.usefixtures("prepared")
def test_a_wrong_recipe_is_reported_even_without_apptainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match=r"cannot read the recipe missing\.def"):
        build_image(Path("missing.def"), say=lambda line: None)


def test_failed_build_shows_its_last_lines_and_keeps_the_old_image(apptainer: Apptainer) -> None:
    Path("x.sif").write_bytes(b"old image")
    apptainer.end_with("error: the engine vmaf lacks the feature extractors ciede")
    with pytest.raises(IncompleteError) as caught:
        build(force=True)
    assert "exit status 255" in caught.value.message
    assert "lacks the feature extractors ciede" in caught.value.message
    assert Path("x.sif").read_bytes() == b"old image"
    assert [path.name for path in Path.cwd().iterdir()] == ["x.sif"]

    apptainer.end_with("")
    build(force=True)
    assert Path("x.sif").read_bytes().endswith(b"new image")


def test_stopping_ends_the_build_and_leaves_nothing(apptainer: Apptainer) -> None:
    apptainer.end_with("hang")
    command = "from vmafarm.common.interrupts import heard; from vmafarm.images.build import *\n"
    command += f"with heard(): build_image(Path({str(CPU)!r}), Path('x.sif'))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(apptainer.folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    while b"Starting build" not in process.stdout.readline():
        assert process.poll() is None
    child = apptainer.call["pid"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert not Path(f"/proc/{child}").exists()
    assert list(Path.cwd().iterdir()) == []
    assert not list(apptainer.folder.glob("vmafarm-image-*"))


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("FATAL: could not use fakeroot: no mapping entry found in /etc/subuid for farm", "/etc/subuid"),
        ("FATAL: while making image: No space left on device", "APPTAINER_TMPDIR"),
        ("tls: failed to verify certificate: x509: unknown authority", "--wheelhouse"),
        ("dial tcp: lookup registry: Temporary failure in name resolution", "no network"),
        ("FATAL:   stat /bin/sh: no such file or directory", "the base has no shell"),
    ],
)
def test_known_failure_comes_with_what_to_do(apptainer: Apptainer, line: str, hint: str) -> None:
    from vmafarm.images.apptainer import build as run_build

    apptainer.end_with(line)
    Path("image.def").touch()
    with pytest.raises(IncompleteError) as caught:
        run_build([str(find_apptainer()), "build", "x", "image.def"], Path.cwd(), lambda line: None)
    assert hint in caught.value.hint
    documented("an image to build on a base without a shell")


def test_build_that_does_not_end_is_killed_at_its_deadline(
    apptainer: Apptainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vmafarm.images.apptainer

    monkeypatch.setattr(vmafarm.images.apptainer, "BUILD_SECONDS", 0.5)
    apptainer.end_with("hang")
    Path("image.def").touch()
    started = time.monotonic()
    with pytest.raises(IncompleteError, match="did not end"):
        vmafarm.images.apptainer.build(
            [str(find_apptainer()), "build", "x", "image.def"], Path.cwd(), lambda line: None
        )
    assert time.monotonic() - started < 20


def run_build(script: str) -> tuple[IncompleteError, list[str]]:
    """Run a program that fails as a build; the error, and the lines that were passed on."""
    import vmafarm.images.apptainer

    lines: list[str] = []
    with pytest.raises(IncompleteError) as caught:
        vmafarm.images.apptainer.build(["sh", "-c", script], Path.cwd(), lines.append)
    return caught.value, lines


@pytest.mark.parametrize("session", ["", "setsid"])
def test_a_build_ends_with_apptainer_even_if_another_process_holds_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vmafarm.images.apptainer.BUILD_SECONDS", 20)
    error, lines = run_build(
        f"{session} sleep 300 & echo $! > pid; echo building; printf 'FATAL: no'; exit 255"
    )
    assert "failed (exit status 255)" in error.message
    assert lines == ["building", "FATAL: no"]
    assert not Path("/proc", Path("pid").read_text().strip()).exists()


def test_build_may_go_on_after_it_has_closed_its_output() -> None:
    error, lines = run_build("echo building; exec >&- 2>&-; sleep 0.5; exit 7")
    assert "failed (exit status 7)" in error.message
    assert lines == ["building"]


def test_of_an_endless_line_of_a_build_little_is_kept() -> None:
    tracemalloc.start()
    try:
        error, lines = run_build(r"head -c 30000000 /dev/zero | tr '\0' x; echo; echo second; exit 1")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert lines == ["x" * 16384, "second"]
    assert error.message.endswith("\nsecond")


def test_second_interrupt_does_not_let_a_build_live_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is raised while an image is built, also as the build is asked to end."""
    import vmafarm.images.apptainer

    send = vmafarm.process.follow._signal

    def send_or_be_interrupted(group: int, number: signal.Signals) -> None:
        if number == signal.SIGTERM:
            raise KeyboardInterrupt
        send(group, number)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vmafarm.process.follow, "_signal", send_or_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        vmafarm.images.apptainer.build(["sh", "-c", "echo $$ > pid; echo; sleep 300"], Path.cwd(), interrupt)
    assert not Path("/proc", Path("pid").read_text().strip()).exists()


# What is refused before anything is built


def test_without_apptainer_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="no program apptainer in PATH") as caught:
        build()
    assert "Apptainer 1.2" in caught.value.hint
    assert caught.value.exit_code == 3


def test_missing_recipe_is_named_with_those_that_exist(apptainer: Apptainer) -> None:
    with pytest.raises(UsageError, match=r"no\.def: No such file") as caught:
        build(Path("no.def"))
    assert "containers/cpu.def" in caught.value.hint


def test_image_that_is_there_is_kept_without_force(apptainer: Apptainer) -> None:
    Path("x.sif").write_bytes(b"old image")
    with pytest.raises(UsageError, match="already exists") as caught:
        build()
    assert "--force" in caught.value.hint
    assert not apptainer.was_asked_to_build


@pytest.mark.parametrize(
    ("output", "reason"), [(".", "is a folder"), ("no/x.sif", "in a folder that does not exist")]
)
def test_output_that_can_be_no_file_is_refused(apptainer: Apptainer, output: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        build(output=output)
    assert not apptainer.was_asked_to_build


def test_output_in_a_folder_without_permission_is_refused(
    apptainer: Apptainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("shut").mkdir(mode=0o500)
    # As root, which may write anywhere, only the answer of the system can be put in place.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "shut")
    with pytest.raises(UnavailableError, match="no permission"):
        build(output="shut/x.sif")


def test_wheelhouse_without_wheels_is_refused(apptainer: Apptainer) -> None:
    Path("wheels").mkdir()
    with pytest.raises(UsageError, match="no wheel in the wheelhouse"):
        build(wheelhouse=Path("wheels"))
    assert not apptainer.was_asked_to_build


def test_toolkit_from_a_wheel_says_that_a_checkout_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from a wheel") as caught:
        find_checkout(tmp_path / "python3.11" / "site-packages" / "vmafarm")
    assert "git clone" in caught.value.hint
    assert find_checkout() == ROOT.resolve()


# The sources that go into the image


def test_sources_hold_a_wheel_with_the_modules_that_the_recipes_call(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels with a blank"
    wheels.mkdir()
    (wheels / "a-1-py3-none-any.whl").write_bytes(b"a")
    (wheels / "notes.txt").write_text("no wheel")
    wheel = prepare_sources(ROOT, tmp_path / "source", wheels)
    names = zipfile.ZipFile(wheel).namelist()
    called = re.findall(r"-m ([\w.]+)", CPU.read_text() + GPU.read_text() + _text("containers/install.sh"))
    assert {"vmafarm.images.inside"} <= set(called)
    assert "vmafarm/images/inside.py" in names
    assert [path.name for path in (tmp_path / "source" / "wheelhouse").iterdir()] == ["a-1-py3-none-any.whl"]
    assert os.access(tmp_path / "source" / "install.sh", os.X_OK)


def test_wheel_that_cannot_be_built_is_reported(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "containers", checkout / "containers")
    shutil.copyfile(ROOT / "requirements.lock", checkout / "requirements.lock")
    (checkout / "pyproject.toml").write_text("[build-system]\nrequires = []\nbuild-backend = 'no_such'\n")
    with pytest.raises(UnavailableError, match="cannot build the wheel"):
        prepare_sources(checkout, tmp_path / "source", None)


# Build arguments


@pytest.mark.usefixtures("prepared")
def test_an_argument_that_the_recipe_does_not_have_is_wrong_use(apptainer: Apptainer) -> None:
    apptainer.end_with("FATAL:   unused build args: VMAF_REV. Use option --warn-unused-build-args")
    with pytest.raises(UsageError, match="unused build args: VMAF_REV") as caught:
        build(arguments=["VMAF_REV=1"])
    assert "containers/README.md" in caught.value.hint


@pytest.mark.usefixtures("prepared")
@pytest.mark.skipif(shutil.which("apptainer") is None, reason="there is no Apptainer here")
@pytest.mark.parametrize("recipe", [GPU, CPU], ids=["gpu", "cpu"])
def test_apptainer_itself_refuses_such_an_argument_at_once(tmp_path: Path, recipe: Path) -> None:
    with pytest.raises(UsageError, match="unused build args: VMAF_REV"):
        build(recipe, str(tmp_path / "x.sif"), arguments=["VMAF_REV=1"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"this recipe has no default for the build argument RUN_FROM"),
        (["RUN_FROM=ghcr.io/vmafx/vmafx:v1.0.0-rc.2-cuda13"], r"=ghcr\.io.*: an image without its digest"),
        (["RUN_FROM=ghcr.io/vmafx/vmafx@sha256:0123"], "an image without its digest"),
    ],
)
def test_an_image_of_a_registry_is_named_with_its_digest(
    apptainer: Apptainer, given: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build(PUBLISHED, arguments=given)
    assert "RUN_FROM=IMAGE@sha256:DIGEST; containers/README.md" in caught.value.hint
    documented("an image to build from a base that is not named")
    assert not apptainer.was_asked_to_build


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize(
    "given",
    [
        [f"RUN_FROM=ghcr.io/vmafx/vmafx@sha256:{'0a' * 32}"],
        ["RUN_BOOTSTRAP=localimage", "RUN_FROM=/images/published.sif"],
    ],
)
def test_with_its_digest_or_as_a_file_it_is_taken(apptainer: Apptainer, given: list[str]) -> None:
    built = build(PUBLISHED, arguments=given)
    assert built.path.exists()
    assert given[-1] in apptainer.call["arguments"]


def test_default_output_is_named_after_the_recipe() -> None:
    assert str(default_output(GPU)) == "vmafarm.sif"
    assert str(default_output(PUBLISHED)) == "vmafarm-published.sif"
    assert str(default_output(CPU)) == "vmafarm-cpu.sif"


# Reading images


def test_something_else_is_not_taken_for_an_image(apptainer: Apptainer) -> None:
    Path("x.sif").write_bytes(b"#!/bin/sh\n" + b"x" * 100)
    with pytest.raises(UsageError, match="not an Apptainer image"):
        read_labels(Path("x.sif"))
    Path("short.sif").touch()
    with pytest.raises(UsageError, match="not an Apptainer image"):
        check_sif(Path("short.sif"))
    with pytest.raises(UsageError, match="No such file"):
        check_sif(Path("gone.sif"))


def test_labels_and_digest_of_an_image(apptainer: Apptainer) -> None:
    Path("x.sif").write_bytes(SIF_HEAD)
    assert read_labels(Path("x.sif")) == {"version": "0.1.0", "cuda": "13.0"}
    assert read_digest(Path("x.sif")) == f"sha256:{hashlib.sha256(SIF_HEAD).hexdigest()}"


def _text(name: str) -> str:
    return (ROOT / name).read_text()
