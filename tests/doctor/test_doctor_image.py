"""The doctor looks into the image."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest
from support.doctor_helpers import by_name, configure
from support.engine_helpers import write_program

from vmafarm import doctor
from vmafarm.cluster.slurm import Slurm
from vmafarm.doctor.check_result import lines as lines_of
from vmafarm.doctor.image import check_unpacking, examine_image
from vmafarm.doctor.preflight import preflight
from vmafarm.images.apptainer import why_it_unpacks
from vmafarm.process.toolkit import version

LABELS = {"vmafarm.version": "0.1.0", "vmafarm.engine": "vmaf", "vmafarm.cuda": "13.0"}


def add_apptainer(cluster, labels=LABELS, python=sys.executable):
    """An apptainer whose image is this very machine."""
    document = json.dumps({"data": {"attributes": {"labels": labels}}})
    cluster.add_program(
        "apptainer",
        f"""#!/bin/sh
        echo "$*" >> '{cluster.programs}/apptainer-calls'
        case $1 in
          inspect) echo '{document}' ;;
          exec)
            while [ "$1" != /opt/venv/bin/python ]; do shift; done
            shift
            cd / && exec '{python}' "$@" ;;
        esac
        """,
    )


def apptainer_calls(cluster):
    return (cluster.programs / "apptainer-calls").read_text().splitlines()


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "x.sif"
    path.write_bytes(b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\x0001\0" + bytes(100))
    return path


def test_the_engine_is_probed_inside_the_image_with_the_elements_own_binds(
    cluster, tmp_path, machine, image, monkeypatch
):
    add_apptainer(cluster)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    config = configure(
        tmp_path, corpus={"clips": "clips"}, slurm={"image": "x.sif", "environment": {"S": "secret"}}
    )
    config = config.model_copy(update={"run": config.run.model_copy(update={"root": "runs"})})
    found = by_name(doctor.examine(config, Slurm(), machine))
    assert found["image"].message.startswith("x.sif: engine vmaf, CUDA 13.0, sha256:")
    assert {name: f.state for name, f in found.items() if name.startswith("image: ")} == {
        "image: run folder": "ok", "image: clips": "ok", "image: scratch": "ok", "image: ffmpeg": "ok",
        "image: engine": "ok", "image: driver": "skipped", "image: memory": "ok",
    }  # fmt: skip
    assert "plan identity" in found["image: engine"].message
    assert found["image: run folder"].message.startswith(f"{tmp_path}/runs can be written")
    assert not {"engine", "ffmpeg", "scratch"} & found.keys()
    (inside,) = [call for call in apptainer_calls(cluster) if " doctor --here --json" in call]
    assert f"--bind {tmp_path}/runs --bind {tmp_path}/clips:{tmp_path}/clips:ro" in inside
    assert "--nv" not in inside
    assert "secret" not in inside


def test_what_fails_inside_the_image_keeps_its_hint_and_exit_status(cluster, tmp_path, image):
    add_apptainer(cluster)
    config = configure(tmp_path, slurm={"image": str(image)}, engine={"ffmpeg": 'it\'s "no" ffmpeg'})
    found = by_name(examine_image(config))["image: ffmpeg"]
    assert found.message == "the program 'it\\'s \"no\" ffmpeg' (engine.ffmpeg) is not there"
    assert (found.hint, found.exit_status) == ("set engine.ffmpeg", 3)


def test_an_image_that_cannot_be_used_is_not_looked_into(cluster, tmp_path, image):
    cluster.add_apptainer("0.0.1")
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(image)})))
    assert (found["image"].state, found["image"].exit_status) == ("failed", 2)
    assert f"holds vmafarm 0.0.1, this is {version()}" in found["image"].message
    assert found["image: engine"].state == "skipped"
    text = tmp_path / "text.sif"
    text.write_text("x" * 100)
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(text)})))
    assert "is not an Apptainer image (SIF)" in found["image"].message


def test_cuda_from_an_image_without_it_is_wrong_configuration(cluster, tmp_path, image):
    add_apptainer(cluster, LABELS | {"vmafarm.cuda": "none"})
    config = configure(tmp_path, slurm={"image": str(image)}, engine={"kind": "vmaf", "backend": "cuda"})
    (found, _) = examine_image(config)
    assert (found.state, found.exit_status) == ("failed", 2)
    assert "was built without CUDA" in found.message


def test_an_image_that_gives_no_findings_is_one_finding(cluster, tmp_path, image):
    python = write_program(
        tmp_path / "python",
        f'case $* in *doctor*) echo Segmentation; exit 0;; esac; exec {sys.executable} "$@"',
    )
    add_apptainer(cluster, python=python)
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(image)})))
    assert found["image"].state == "ok"
    assert (found["image: start"].state, found["image: start"].exit_status) == ("failed", 3)
    assert "returns no results: 'Segmentation" in found["image: start"].message


NESTED = "[" * 200_000
GOOD_LABELS = json.dumps({"data": {"attributes": {"labels": LABELS}}})


def answering(cluster, tmp_path, labels, findings, status=0):
    """An apptainer that gives these answers when it is asked for labels and for the findings inside."""
    (tmp_path / "labels").write_bytes(labels.encode("utf-8", "surrogateescape"))
    (tmp_path / "findings").write_bytes(findings.encode("utf-8", "surrogateescape"))
    cluster.add_program(
        "apptainer",
        f"""#!/bin/sh
        case "$*" in
          *toolkit.version*) echo {version()} ;;
          *doctor*) cat {tmp_path}/findings; exit {status} ;;
          *inspect*) cat {tmp_path}/labels ;;
        esac
        """,
    )


def told(**more):
    """An answer of one finding with these keys."""
    return json.dumps({"findings": [{"name": "a", "state": "ok", "message": "m"} | more]})


@pytest.mark.parametrize(
    "answer",
    [
        "", "5", "[]", "{}", NESTED, "\udcff\udcff", '{"data": 5}', '{"data": {"attributes": []}}',
        '{"data": {"attributes": {"labels": ["a"]}}}', '{"data": {"attributes": {"labels": 5}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.version": 5}}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.engine": [1]}}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.cuda": null}}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.cuda": "\\ud800"}}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.engine": "%s"}}}}' % ("x" * 2_000_000),
    ],
    ids=lambda answer: answer[:60],
)  # fmt: skip
def test_an_answer_of_apptainer_that_gives_no_labels_is_one_message(cluster, tmp_path, image, answer):
    answering(cluster, tmp_path, answer, told())
    first, second = examine_image(configure(tmp_path, slurm={"image": str(image)}))
    assert (first.state, first.exit_status, second.state) == ("failed", 3, "skipped")
    assert first.message.startswith(f"apptainer inspect shows no labels of {image}: ")
    assert len(first.message) < 1000
    assert "build the image again" in first.hint
    assert lines_of([first, second])


@pytest.mark.parametrize("labels", ["null", "{}", '{"org.label-schema.usage": ""}'])
def test_an_image_of_something_else_has_no_labels_of_ours(cluster, tmp_path, image, labels):
    answering(cluster, tmp_path, f'{{"data": {{"attributes": {{"labels": {labels}}}}}}}', told())
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(image)})))
    assert "engine unknown, without CUDA" in found["image"].message
    assert found["image: a"].state == "ok"


@pytest.mark.parametrize(
    "answer",
    [
        "", "5", "[]", "{}", NESTED, "\udcff\udcff", '{"findings": 5}', '{"findings": []}',
        '{"findings": [5]}', '{"findings": [{}]}',
        json.dumps({"findings": [json.loads(told())["findings"][0]] * 101}),
        told(name=1), told(name=""), told(name="a\nok"), told(name="x" * 61),
        told(state="x"), told(state=None), told(state=[]),
        told(message=5), told(message=[]), told(message="x" * 2_000_000), told()[:-2],
        told().replace('"m"', '"\\ud800"'), told().replace('"m"', "NaN"),
        told(state="failed", hint=6, exit_status=3), told(state="failed", exit_status="3"),
        told(state="failed", exit_status=True), told(state="failed", exit_status=4),
        told(state="failed", exit_status=10**400), told(state="failed"), told(exit_status=3),
    ],
    ids=lambda answer: answer[:60],
)  # fmt: skip
def test_an_answer_from_inside_an_image_that_is_no_report_is_one_message(cluster, tmp_path, image, answer):
    answering(cluster, tmp_path, GOOD_LABELS, answer)
    first, second = found = examine_image(configure(tmp_path, slurm={"image": str(image)}))
    assert first.state == "ok"
    assert (second.name, second.state, second.exit_status) == ("image: start", "failed", 3)
    assert second.message.startswith("vmafarm doctor in the image returns no results: ")
    assert len(second.message) < 1500
    assert second.hint == "build the image again"
    assert lines_of(found)
    assert json.loads(doctor.as_json(found))["exit_status"] == 3


def test_a_submission_passes_on_warnings_from_inside_an_image_but_for_the_run_folder(
    cluster, tmp_path, image
):
    """`vmafarm.run_folder.permissions` has said by then who may write the run folder."""
    warnings = [{"name": name, "state": "warning", "message": name} for name in ("run folder", "scratch")]
    answering(cluster, tmp_path, GOOD_LABELS, json.dumps({"findings": warnings}))
    said = []
    preflight(configure(tmp_path, slurm={"image": str(image)}), said.append)
    assert said == ["warning: image: scratch: scratch"]


def test_an_answer_from_inside_an_image_that_is_endless_is_one_message(cluster, tmp_path, image, monkeypatch):
    monkeypatch.setattr("vmafarm.images.apptainer.MOST_BYTES_OF_DOCUMENT", 1000)
    answering(cluster, tmp_path, GOOD_LABELS, told(message="x" * 1000))
    _, second = examine_image(configure(tmp_path, slurm={"image": str(image)}))
    assert "bytes, expected at most 1,000" in second.message


def test_what_hangs_inside_an_image_is_ended_with_all_its_children(cluster, tmp_path, image, monkeypatch):
    python = write_program(
        tmp_path / "python", f'case $* in *doctor*) sleep 30; echo;; esac; exec {sys.executable} "$@"'
    )
    add_apptainer(cluster, python=python)
    monkeypatch.setattr(doctor.image, "INSIDE_SECONDS", 0.3)
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(image)})))
    assert "apptainer exec gave no answer within 0 s" in found["image: start"].message


def test_inside_an_image_the_image_itself_is_not_looked_for(tmp_path, machine, no_slurm):
    machine.build.write_text(json.dumps({"version": "1", "cuda": None, "engine": "ffmpeg"}))
    config = configure(tmp_path, slurm={"image": "/nowhere/x.sif"})
    found = by_name(doctor.examine(config, Slurm(), machine))
    assert found["engine"].state == "ok"
    assert not any(name.startswith("image") for name in found)


@pytest.fixture
def rootless(cluster, tmp_path, monkeypatch):
    """An apptainer without setuid, in a PATH without squashfuse, as seen by an ordinary user."""
    folder = tmp_path / "libexec" / "apptainer" / "bin"
    folder.mkdir(parents=True)
    cluster.add_program("apptainer", f"#!/bin/sh\necho LIBEXECDIR={tmp_path}/libexec\n")
    monkeypatch.setenv("PATH", str(cluster.programs))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return folder


def test_an_image_that_would_be_unpacked_at_each_start_is_one_warning(rootless, tmp_path, image):
    environment = {"APPTAINER_TMPDIR": str(tmp_path)}
    config = configure(tmp_path, slurm={"image": str(image), "environment": environment})
    found = check_unpacking(config)
    assert (found.name, found.state) == ("image: mount", "warning")
    assert f"unpacks {image}" in found.message
    assert f"into {tmp_path}, " in found.message
    assert "three times" not in found.message
    assert "APPTAINER_TMPDIR" in found.hint
    os.truncate(image, shutil.disk_usage(tmp_path).free // 2)
    assert check_unpacking(config).message.endswith("an image needs about three times its size")


@pytest.mark.parametrize("what", ["setuid", "its own squashfuse", "squashfuse in PATH", "root", "no answer"])
def test_an_image_that_is_mounted_is_no_warning(rootless, cluster, tmp_path, image, monkeypatch, what):
    program = {"setuid": rootless / "starter-suid", "its own squashfuse": rootless / "squashfuse_ll"}.get(
        what
    )
    if what == "squashfuse in PATH":
        program = cluster.programs / "squashfuse"
    if program:
        program.write_text("#!/bin/sh\n")
        program.chmod(0o4755 if what == "setuid" else 0o755)
    if what == "root":
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    if what == "no answer":
        cluster.add_program("apptainer", "#!/bin/sh\nexit 1\n")
    assert why_it_unpacks(device=tmp_path) == ""


def test_a_machine_without_fuse_unpacks_images(rootless, tmp_path):
    (rootless / "squashfuse_ll").touch(0o755)
    assert why_it_unpacks(device=tmp_path / "fuse") == (
        f"apptainer has no setuid helper here, and there is no {tmp_path / 'fuse'}"
    )
