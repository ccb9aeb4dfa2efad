"""What is said where CUDA can find no GPU: of a container, of a job, and of a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmafarm.process.gpu_here import GpuHere, look_for_gpu

VERSION = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC: 13\n"


def look(
    folder: Path,
    *,
    devices: int = 1,
    library: bool = True,
    driver: bool = True,
    image: bool = False,
    **environment: str,
) -> GpuHere:
    """A machine with these, all of them made up."""
    (folder / "dev").mkdir()
    for number in range(devices):
        (folder / "dev" / f"nvidia{number}").touch()
    for name in ("nvidiactl", "nvidia-uvm"):
        (folder / "dev" / name).touch()
    if driver:
        (folder / "version").write_text(VERSION)
    if image:
        (folder / "build.json").touch()

    def load(name: str) -> object:
        assert name == "libcuda.so.1"
        if not library:
            raise OSError("cannot open shared object file")
        return object()

    return look_for_gpu(environment, folder / "dev", folder / "version", load, folder / "build.json")


def test_a_gpu_that_can_be_seen_is_no_problem(tmp_path: Path) -> None:
    found = look(tmp_path, devices=2, CUDA_VISIBLE_DEVICES="1")
    assert found == GpuHere(2, True, "580.65.06", "1", 1, "")
    assert found.problem() is None


@pytest.mark.parametrize("variable", ["APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"])
@pytest.mark.parametrize(("devices", "lacks"), [(1, "libcuda.so.1"), (0, "libcuda.so.1 and no device file")])
def test_a_container_started_without_nv_is_told_so(
    tmp_path: Path, variable: str, devices: int, lacks: str
) -> None:
    """Apptainer shows the node's device files in any case, and the driver's library with --nv only."""
    found = look(tmp_path, devices=devices, library=False, image=True, **{variable: "/vmafarm.sif"})
    message, hint = found.problem() or ("", "")
    assert message.startswith(f"the container sees no {lacks}")
    assert message.endswith("though this machine has NVIDIA driver 580.65.06")
    assert "--nv" in hint
    assert "slurm.gpus or slurm.gres" in hint


def test_in_pyxis_enroots_hook_is_named(tmp_path: Path) -> None:
    message, hint = look(tmp_path, devices=0, library=False, image=True).problem() or ("", "")
    assert message.startswith("the container sees no libcuda.so.1 and no device file /dev/nvidia0")
    assert "98-nvidia.sh" in hint


@pytest.mark.parametrize("image", [False, True])
def test_a_node_without_a_driver_is_the_wrong_node(tmp_path: Path, image: bool) -> None:
    found = look(tmp_path, devices=0, library=False, driver=False, image=image)
    message, hint = found.problem() or ("", "")
    assert message == "this machine has no NVIDIA driver"
    assert "choose nodes with GPUs" in hint


def test_where_the_driver_is_no_part_of_the_kernel_nothing_is_claimed(tmp_path: Path) -> None:
    assert look(tmp_path, devices=0, driver=False).problem() is None


@pytest.mark.parametrize("listed", ["", "NoDevFiles", "-1"])
def test_a_job_without_a_gpu_is_told_what_the_variable_says(tmp_path: Path, listed: str) -> None:
    message, hint = look(tmp_path, CUDA_VISIBLE_DEVICES=listed).problem() or ("", "")
    assert message == f"CUDA_VISIBLE_DEVICES={listed} names no GPU of this machine"
    assert "slurm.gpus or slurm.gres" in hint


def test_outside_of_a_container_the_driver_is_to_be_looked_at(tmp_path: Path) -> None:
    message, hint = look(tmp_path, library=False).problem() or ("", "")
    assert message == "this process sees no libcuda.so.1, though this machine has NVIDIA driver 580.65.06"
    assert "nvidia-smi" in hint
