"""What starts an image: Apptainer, Singularity, pyxis, or nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.fake_slurm import planned, write_sif
from support.images import make_image, no_images_here

from vmafarm.cluster.preparation import elements_on_a_node
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_answers import Partition
from vmafarm.cluster.submit import submit
from vmafarm.common.errors import UnavailableError, UsageError, VmafarmError
from vmafarm.common.package import __version__
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.images.command import container_python
from vmafarm.images.containers import container_of
from vmafarm.process.toolkit import version
from vmafarm.run_folder.paths import RunFolder

FOLDER = RunFolder(Path("/data/runs"), "demo")
PYTHON = ["/opt/venv/bin/python", "-E", "-P", "-s", "-X", "utf8"]
NEEDS_IMAGES = pytest.mark.skipif(bool(no_images_here()), reason=no_images_here())


@pytest.fixture(autouse=True)
def _srun_with_pyxis(cluster):
    """A cluster that has pyxis."""
    cluster.add_program(
        "srun", "#!/bin/sh\necho '      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]|PATH'\n"
    )


def make_sqsh(folder: Path, facts: object) -> Path:
    """A SquashFS image of a root file system that says how it was built."""
    build = folder / "root/opt/vmafarm/build.json"
    build.parent.mkdir(parents=True)
    build.write_text(json.dumps(facts))
    return make_image(folder / "root", folder / "vmafarm.sqsh")


def refusal(kind: type[VmafarmError], section: SlurmSection, method: str) -> VmafarmError:
    container = container_of(section)
    with pytest.raises(kind) as caught:
        getattr(container, method)()
    assert "\n" not in caught.value.message
    return caught.value


def test_singularity_starts_the_same_image_with_the_same_options():
    keys = {"image": "/x.sif", "gpus": 1, "binds": ["/opt:/opt:ro"]}
    apptainer = container_python(SlurmSection(**keys), FOLDER, Path("/clips"), "/tmp/x")
    singularity = container_python(
        SlurmSection(**keys, container="singularity"), FOLDER, Path("/clips"), "/tmp/x"
    )
    assert (apptainer[0], singularity[0]) == ("apptainer", "singularity")
    assert apptainer[1:] == singularity[1:]


def test_pyxis_starts_the_image_in_a_step_of_its_own():
    section = SlurmSection(image="/x.sqsh", container="pyxis", gpus=1, binds=["/opt:/opt:ro"])
    assert container_python(section, FOLDER, Path("/clips"), "/tmp/x") == [
        "srun", "--overlap", "--nodes=1", "--ntasks=1", "--export=ALL", "--kill-on-bad-exit=1",
        "--no-container-mount-home", "--container-workdir=/",
        "--container-mounts=/data/runs/demo:/data/runs/demo,/tmp/x:/tmp/x,/clips:/clips:ro,/opt:/opt:ro",
        "--container-image", "/x.sqsh", *PYTHON,
    ]  # fmt: skip


def test_none_starts_no_image_though_one_is_named():
    section = SlurmSection(image="/x.sif", container="none")
    assert container_of(section) is None
    assert container_python(section, FOLDER, Path("/clips"), "")[0] == sys.executable


@NEEDS_IMAGES
def test_an_image_for_pyxis_says_which_engine_it_has(cluster, runs, tmp_path):
    image = make_sqsh(tmp_path, {"version": __version__, "engine": "ffmpeg", "cuda": None})
    submission = submit(planned(runs, image=str(image), container="pyxis").config, Slurm()).submission
    assert submission.engine == "ffmpeg"
    assert submission.image == str(image)
    assert "--container-image" in cluster.scripts["11"]
    container = container_of(SlurmSection(image=str(image), container="pyxis"))
    assert container.labels()["cuda"] == "none"


@NEEDS_IMAGES
@pytest.mark.parametrize("facts", [{"version": "0.0.1"}, {}])
def test_an_image_for_pyxis_of_another_version_is_refused(cluster, runs, tmp_path, facts):
    image = make_sqsh(tmp_path, facts)
    with pytest.raises(
        UsageError, match=f"holds vmafarm {facts.get('version', 'unknown')}, this is {__version__}"
    ):
        submit(planned(runs, image=str(image), container="pyxis").config, Slurm())


@NEEDS_IMAGES
def test_a_cluster_without_pyxis_is_named(cluster, tmp_path):
    cluster.add_program("srun", "#!/bin/sh\necho usage: srun\n")
    section = SlurmSection(image=str(tmp_path / "x.sqsh"), container="pyxis")
    error = refusal(UnavailableError, section, "check")
    assert error.message == "srun has no option --container-image: this cluster does not have pyxis"


@NEEDS_IMAGES
def test_pyxis_refuses_what_is_no_squashfs_and_what_does_not_say_what_it_is(cluster, tmp_path, monkeypatch):
    sif = write_sif(tmp_path / "x.sif")
    error = refusal(UsageError, SlurmSection(image=str(sif), container="pyxis"), "check")
    assert error.message == f"{sif}: not a SquashFS image (.sqsh), which pyxis starts"
    image = make_sqsh(tmp_path, ["no facts"])
    error = refusal(UsageError, SlurmSection(image=str(image), container="pyxis"), "labels")
    assert error.message == f"{image} does not say how it was built (/opt/vmafarm/build.json)"
    monkeypatch.setenv("PATH", str(cluster.programs))
    error = refusal(UnavailableError, SlurmSection(image=str(image), container="pyxis"), "labels")
    assert "no program unsquashfs" in error.message


@NEEDS_IMAGES
def test_pyxis_cannot_mount_an_image_of_clips(tmp_path):
    clips = make_sqsh(tmp_path, {})
    section = SlurmSection(image=str(tmp_path / "x.sqsh"), container="pyxis")
    with pytest.raises(UsageError, match="a SquashFS image, which pyxis cannot mount at /clips"):
        container_python(section, FOLDER, clips, "")


def test_a_site_without_singularity_is_told_so(tmp_path, monkeypatch):
    image = write_sif(tmp_path / "x.sif")
    monkeypatch.setenv("PATH", "/nothing")
    error = refusal(UnavailableError, SlurmSection(image=str(image), container="singularity"), "toolkit")
    assert error.message == 'no program singularity in PATH: slurm.container = "singularity" needs it'


def test_the_login_node_asks_singularity_about_the_image(cluster, runs, tmp_path):
    image = write_sif(tmp_path / "x.sif")
    cluster.add_apptainer(version())
    (cluster.programs / "apptainer").rename(cluster.programs / "singularity")
    run = planned(runs, image=str(image), container="singularity")
    assert submit(run.config, Slurm()).submission.engine == "ffmpeg"
    assert "singularity exec --no-home" in cluster.scripts["11"]


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({"gpus": 1}, 1), ({"gres": "gpu"}, 1), ({"gres": "gpu:2"}, 2), ({"gres": "gpu:a100:1"}, 1),
        ({"gres": "gpu:a100:4,lustre:1"}, 4), ({"gres": "gpu:a100:1", "gpus": 3}, 1),
        ({"gres": "shard:4"}, 0), ({}, 0),
    ],
)  # fmt: skip
def test_gpus_of_an_element_are_counted_however_they_are_requested(keys, count):
    section = SlurmSection(**keys, cpus=2)
    assert section.gpu_count == count
    partition = Partition("gpu", True, None, "gpu:a100:4", cpus=64)
    assert elements_on_a_node(section, partition) == (4 // count if count else 32)
