"""Submitting with an image: whether it can be used, which engine it has, how elements start in it."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from support.fake_slurm import planned, write_sif
from support.submitting import refusal

from vmafarm.cluster.preparation import check_image
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import submit
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.images import apptainer
from vmafarm.images.containers import Container, container_of
from vmafarm.images.sif import read_stamp
from vmafarm.process.toolkit import version
from vmafarm.run_folder.provenance import freeze_provenance


def of(image: Path) -> Container:
    """What starts it."""
    container = container_of(SlurmSection(image=str(image)))
    assert container is not None
    return container


def test_elements_start_in_the_image_and_its_digest_is_on_record(cluster, tmp_path, runs):
    image = write_sif(tmp_path / "my image.sif")
    cluster.add_apptainer(version())
    run = planned(runs, image=str(image))
    submitted = submit(run.config, Slurm())
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", submitted.submission.image_digest)
    assert submitted.submission.image == str(image)
    (start,) = [line for line in cluster.scripts["11"].splitlines() if line.startswith("srun ")]
    words = shlex.split(start)
    at = words.index("apptainer")
    assert words[at : at + 5] == ["apptainer", "exec", "--no-home", "--pwd", "/"]
    clips = run.config.corpus.clips
    assert {str(run.folder.path), f"{clips}:{clips}:ro", str(image)} <= set(words[at:])
    python = words.index("/opt/venv/bin/python")
    assert words[python + 1 : -2] == ["-E", "-P", "-s", "-X", "utf8", "-u", "-m", "vmafarm.start"]
    assert submitted.command in start


def test_an_image_that_others_could_replace_is_a_warning_and_a_world_writable_one_is_refused(
    cluster, tmp_path, runs
):
    (tmp_path / "space").mkdir()
    image = write_sif(tmp_path / "space/x.sif")
    cluster.add_apptainer(version())
    run = planned(runs, image=str(image))
    os.chown(tmp_path / "space", -1, 54321)
    (tmp_path / "space").chmod(0o2775)
    said = []
    submit(run.config, Slurm(), say=said.append)
    told = f"warning: {tmp_path / 'space'} is also writable by the group 54321: they could change the image"
    assert any(line.startswith(told) for line in said), said
    cluster.set_queue()
    for path in (image, tmp_path / "space"):
        path.chmod(0o777)
        error = refusal(UsageError, submit, run.config, Slurm(), again=True)
        assert error.message.startswith(f"{path} is world-writable")
        path.chmod(0o755)


def test_auto_is_the_engine_of_the_image_and_the_elements_get_its_name(cluster, tmp_path, runs):
    image = write_sif(tmp_path / "x.sif")
    cluster.add_apptainer(version(), engine="vmaf")
    run = planned(runs, image=str(image))
    run.folder.provenance.unlink(missing_ok=True)
    submitted = submit(run.config, Slurm())
    assert submitted.submission.engine == "vmaf"
    assert submitted.submission.settings["engine.kind"] == "vmaf"
    spec = cluster.specs("11")[0]
    assert spec.config["engine"]["kind"] == "vmaf"


def test_an_image_with_another_engine_than_the_runs_is_refused(cluster, tmp_path, runs):
    image = write_sif(tmp_path / "x.sif")
    cluster.add_apptainer(version(), engine="vmaf")
    run = planned(runs, image=str(image))
    freeze_provenance(run.folder.provenance, run.provenance)
    error = refusal(UsageError, submit, run.config, Slurm())
    assert error.message == (
        f'"demo" was begun with the engine ffmpeg; {image} has vmaf, whose rows cannot be mixed with those'
    )
    assert not cluster.scripts


def test_an_image_that_does_not_say_its_engine_is_refused(cluster, tmp_path, runs):
    image = write_sif(tmp_path / "x.sif")
    cluster.add_apptainer(version(), engine="INFO: welcome")
    run = planned(runs, image=str(image))
    assert (
        "which engine it has: INFO: welcome" in refusal(UnavailableError, submit, run.config, Slurm()).message
    )


@pytest.mark.parametrize(
    ("keys", "staged"),
    [
        ({}, True),  # 32 processors, one each
        ({"cpus": 4}, False),
        ({"cpus": 4, "stage": "yes"}, True),
        ({"stage": "no"}, False),
        ({"parallelism": 8}, False),
        ({"partition": "gpu", "gpus": 1}, False),  # four GPUs a node
    ],
)
def test_the_image_is_copied_to_nodes_on_which_many_elements_start(cluster, tmp_path, runs, keys, staged):
    cluster.add_apptainer(version())
    image = write_sif(tmp_path / "x.sif")
    run = planned(runs, image=str(image), **{"cpus": 1, **keys})
    submitted = submit(run.config, Slurm())
    script = cluster.scripts["11"]
    assert ("--stage /tmp" in script) is staged
    digest = submitted.submission.image_digest.removeprefix("sha256:")
    assert f"--digest {digest} --stamp {read_stamp(image)} " in script


def test_an_image_that_is_missing_or_none_is_refused(cluster, tmp_path):
    cluster.add_apptainer(version())
    (tmp_path / "text.sif").write_text("x" * 100)
    for name, problem in (
        ("none.sif", "cannot read the image {}: No such file or directory"),
        ("text.sif", "{} is not an Apptainer image (SIF)"),
        ("cluster", "cannot read the image {}: this is a folder, expected a regular file"),
    ):
        error = refusal(UsageError, check_image, of(tmp_path / name))
        assert error.message == problem.format(tmp_path / name)
        assert "vmafarm image" in error.hint


def test_an_image_of_another_version_is_refused(cluster, tmp_path):
    cluster.add_apptainer("0.0.1")
    image = write_sif(tmp_path / "x.sif")
    error = refusal(UsageError, check_image, of(image))
    assert error.message == f"{image} holds vmafarm 0.0.1, this is {version()}"


def test_an_image_that_does_not_start_is_named_with_the_reason(cluster, tmp_path, monkeypatch):
    image = write_sif(tmp_path / "x.sif")
    cluster.add_apptainer("FATAL: no user namespaces", status=255)
    error = refusal(UnavailableError, check_image, of(image))
    assert "apptainer exec failed: FATAL: no user namespaces" in error.message
    cluster.add_program("apptainer", "#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(apptainer, "_ASK_SECONDS", 0.2)
    assert "gave no answer within" in refusal(UnavailableError, check_image, of(image)).message
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no program apptainer in PATH" in refusal(UnavailableError, check_image, of(image)).message
