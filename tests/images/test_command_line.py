"""Command lines that start Python on a compute node."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from vmafarm.common.errors import UsageError
from vmafarm.common.package import data_folder
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.images.command import container_python, start_command, starter_command
from vmafarm.run_folder.paths import RunFolder

FOLDER = RunFolder(Path("/data/runs"), "demo")


def refusal(call, *arguments, **options):
    with pytest.raises(UsageError) as caught:
        call(*arguments, **options)
    assert "\n" not in caught.value.message
    return caught.value


def test_without_an_image_elements_run_with_this_python():
    assert container_python(SlurmSection(), FOLDER, Path("/clips"), "") == [
        *(sys.executable, "-E", "-P", "-s"),
        *("-X", "utf8"),  # names are UTF-8 on nodes of any locale
    ]


def test_the_image_sees_the_clips_read_only_the_run_and_nothing_of_the_home_folder():
    section = SlurmSection(image="/images/vmafarm.sif", binds=["/opt/licence:/licence:ro"])
    command = container_python(section, FOLDER, Path("/clips"), "/local/tmp")
    assert command == [
        "apptainer", "exec", "--no-home", "--pwd", "/",
        "--bind", "/data/runs/demo", "--bind", "/clips:/clips:ro", "--bind", "/local/tmp",
        "--bind", "/opt/licence:/licence:ro",
        "/images/vmafarm.sif", "/opt/venv/bin/python", "-E", "-P", "-s", "-X", "utf8",
    ]  # fmt: skip


def test_a_merge_may_write_next_to_the_folder_of_its_run():
    section = SlurmSection(image="/images/vmafarm.sif")
    command = container_python(section, FOLDER, None, "", publishes=True)
    assert command[command.index("--bind") + 1] == "/data/runs"


@pytest.mark.parametrize(
    ("keys", "expected"), [({}, False), ({"gpus": 1}, True), ({"gres": "gpu:a100:1"}, True)]
)
def test_the_image_gets_the_driver_only_where_there_are_gpus(keys, expected):
    section = SlurmSection(image="/x.sif", **keys)
    assert ("--nv" in container_python(section, FOLDER, Path("/clips"), "")) is expected


def test_paths_with_spaces_and_quotes_stay_whole_in_the_command():
    section = SlurmSection(image="/my images/x's.sif")
    folder = RunFolder(Path("/my runs"), "demo")
    command = container_python(section, folder, Path("/the clips/it's"), "")
    assert shlex.split(shlex.join(command)) == command
    assert {"/my runs/demo", "/the clips/it's:/the clips/it's:ro", "/my images/x's.sif"} <= set(command)


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\nb"])
def test_paths_that_cannot_be_bound_are_refused(name):
    section = SlurmSection(image="/x.sif")
    shown = name.replace("\n", "\\n")
    for folder, clips, scratch in (
        (RunFolder(Path("/"), name), Path("/clips"), ""),
        (FOLDER, Path("/") / name, ""),
        (FOLDER, Path("/clips"), f"/{name}"),
    ):
        error = refusal(container_python, section, folder, clips, scratch)
        assert error.message.startswith(f"/{shown}: containers cannot bind a path with a colon, a comma")
        assert "link" in error.hint
    # No container, no binding.
    assert container_python(SlurmSection(), FOLDER, Path("/") / name, "")[0] == sys.executable


def test_around_the_container_stands_what_needs_the_host():
    section = SlurmSection(image="/images/x.sif", exclude="node[1-2]", stage_folder="/local")
    command = start_command(
        Path("/data/runs/demo/logs/element-00001.sh"), section, FOLDER, "name",
        ["apptainer", "/images/x.sif"],
        clips="/the clips", max_broken=3, image_digest="sha256:0a1b", image_stamp="9:8:7", staged=True,
    )  # fmt: skip
    assert command == [
        *starter_command(Path("/data/runs/demo/logs/element-00001.sh")),
        "--run", "/data/runs/demo", "--name", "name",
        "--clips", "/the clips", "--max-broken", "3", "--exclude", "node[1-2]",
        "--image", "/images/x.sif", "--digest", "0a1b", "--stamp", "9:8:7", "--stage", "/local",
        "--", "apptainer", "/images/x.sif",
    ]  # fmt: skip
    bare = start_command(Path("/x.sh"), SlurmSection(), FOLDER, "name", ["python"], clips="/c", max_broken=1)
    assert bare[6:] == [
        "--run",
        "/data/runs/demo",
        "--name",
        "name",
        "--clips",
        "/c",
        "--max-broken",
        "1",
        "--",
        "python",
    ]
    assert (data_folder("containers") / "element.sh").is_file()
