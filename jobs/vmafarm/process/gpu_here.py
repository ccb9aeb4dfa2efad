"""What of an NVIDIA GPU this process sees: device files, the driver's library, and what it may use."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmafarm.common.errors import show
from vmafarm.process.gpus import count_gpus
from vmafarm.process.node import visible_gpus

_LIBRARY = "libcuda.so.1"  # installed with the driver; Apptainer's --nv binds it
DRIVER = Path("/proc/driver/nvidia/version")
"""A file of the kernel: containers see it, too, whether or not they see the GPU."""
_VERSION = re.compile(r"^NVRM version:.*?\s(\d+)(\.\d[\d.]*)", re.MULTILINE)
"""Of ``... x86_64 Kernel Module  535.104.05  ...`` and ``... Open Kernel Module for x86_64  580.65.06``."""
_IMAGE = Path("/opt/vmafarm/build.json")


@dataclass(frozen=True)
class GpuHere:
    """What this process sees.

    Attributes
    ----------
    devices
        Number of device files /dev/nvidia0, /dev/nvidia1, ...
    library
        Whether libcuda.so.1 can be loaded.
    driver
        Version of the kernel's driver; empty: it has none.
    listed
        CUDA_VISIBLE_DEVICES; None: not set.
    usable
        Number of GPUs that CUDA would find by these, see `vmafarm.process.node.visible_gpus`.
    container
        "apptainer" (or Singularity), "other" (such as pyxis), or "" outside of one.
    """

    devices: int
    library: bool
    driver: str
    listed: str | None
    usable: int
    container: str

    def problem(self) -> tuple[str, str] | None:
        """Why CUDA cannot find a GPU here, and what to do; None: nothing of this kind is wrong."""
        if self.library and not self.driver:  # WSL and Jetson have neither these files nor this problem
            return None
        if not self.driver:
            return "this machine has no NVIDIA driver", (
                "choose nodes with GPUs (slurm.partition, slurm.gpus or slurm.gres), or set "
                'engine.backend = "cpu"'
            )  # fmt: skip
        parts = [(self.library, _LIBRARY), (self.devices, "device file /dev/nvidia0")]
        lacking = " and no ".join(name for is_there, name in parts if not is_there)
        if lacking:
            who = "the container sees" if self.container else "this process sees"
            message = f"{who} no {lacking}, though this machine has NVIDIA driver {self.driver}"
            return message, _HOW_TO_SEE[self.container]
        if not self.usable:
            return f"CUDA_VISIBLE_DEVICES={show(self.listed or '')} names no GPU of this machine", (
                "SLURM sets it for each job: request GPUs (slurm.gpus or slurm.gres); elsewhere unset it"
            )  # fmt: skip
        return None

    @property
    def seen(self) -> bool:
        """Whether a program that is started here can have a GPU; without driver files NVML must show one."""
        return self.library and self.problem() is None and (bool(self.driver) or bool(count_gpus()))

    def tell(self) -> str:
        """What was looked at, and what was found, on one line."""
        found = (
            (_LIBRARY, "there" if self.library else "not there"),
            ("NVIDIA driver", self.driver or "none"),
            ("device files", str(self.devices)),
            ("CUDA_VISIBLE_DEVICES", "not set" if self.listed is None else show(self.listed)),
        )
        return "; ".join(f"{what}: {text}" for what, text in found)


_HOW_TO_SEE = {
    "": "nvidia-smi shows whether the driver works: it may be installed in part, or in another version",
    "apptainer": "start the container with --nv; elements do where slurm.gpus or slurm.gres is set",
    "other": "for pyxis, enroot's hook for NVIDIA (98-nvidia.sh) makes them visible: request GPUs "
    "(slurm.gpus or slurm.gres), and ask whether the hook is installed",
}


def look_for_gpu(
    environment: Mapping[str, str] = os.environ,
    devices: Path = Path("/dev"),
    driver: Path = DRIVER,
    load: Callable[[str], Any] = ctypes.CDLL,
    image: Path = _IMAGE,
) -> GpuHere:
    """Look at what this process sees of a GPU; starts nothing on it.

    Parameters
    ----------
    environment
        Environment of the process.
    devices
        Folder of the device files.
    driver
        The driver's own file.
    load
        Loads a shared library.
    image
        File that is there in images of this toolkit only.
    """
    try:
        load(_LIBRARY)
        library = True
    except OSError:
        library = False
    if "APPTAINER_CONTAINER" in environment or "SINGULARITY_CONTAINER" in environment:
        container = "apptainer"
    else:
        container = "other" if image.exists() else ""
    return GpuHere(
        sum(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia[0-9]*")),
        library,
        read_driver(driver) or "",
        environment.get("CUDA_VISIBLE_DEVICES"),
        len(visible_gpus(environment, devices)),
        container,
    )


def read_driver(path: Path = DRIVER) -> str | None:
    """Read the version of the NVIDIA driver, for example ``580.65.06``; None: no driver.

    Parameters
    ----------
    path
        The driver's own file.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = _VERSION.search(text)
    return found[1] + found[2].rstrip(".") if found else None
