"""Which GPUs a process may use, as CUDA itself reads the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmafarm.process.node import visible_gpus

UUID = "GPU-c722a5b3-6624-8f39-c6d6-f2d6f373dcb8"


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """The device files of two GPUs; the second is number 11 of the node."""
    for name in ("nvidia0", "nvidia10", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("listed", "visible"),
    [
        ("0", ["0"]),
        ("1,0", ["1", "0"]),
        (" 0 , 1 ", ["0", "1"]),
        (UUID, [UUID]),
        (f"{UUID},MIG-{UUID[4:]}", [UUID, f"MIG-{UUID[4:]}"]),
        ("", []),
        ("NoDevFiles", []),
        ("none", []),
        ("all", []),
        (UUID[4:], []),
        ("-1", []),
        ("-1,0", []),
        ("0,-1", ["0"]),
        ("0,99,1", ["0"]),
        ("0,,1", ["0"]),
        ("0,0", []),
        ("0, 0", []),
    ],
)  # what CUDA saw of each on an H100 (driver 580), but for those that take a second GPU
def test_gpus_are_counted_as_cuda_counts_them(devices, listed, visible):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": listed}, devices) == visible


def test_without_the_variable_all_device_files_count_by_the_indices_that_cuda_gives_them(devices):
    assert visible_gpus({}, devices) == ["0", "1"]


def test_an_index_is_trusted_if_no_device_files_show_the_number_of_gpus(tmp_path):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "2,7"}, tmp_path) == ["2", "7"]
