"""Whether this process sees a GPU of NVIDIA, and what was looked at to find out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmafarm.process.gpus import count_gpus

_NAMED_BY = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES")
_CONTAINERS = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
_NOTHING = ("", "-1", "NoDevFiles")


@dataclass(frozen=True)
class GpuSight:
    """What was found where a GPU shows.

    Attributes
    ----------
    count
        GPUs by the driver's management library (NVML); None: the library is not there.
    driver
        The driver's file is there.
    devices
        Device files such as ``/dev/nvidia0``.
    named
        Variables of the environment that name a GPU, with their values.
    in_container
        This process runs in a container.
    """

    count: int | None
    driver: bool
    devices: tuple[str, ...]
    named: Mapping[str, str]
    in_container: bool

    @property
    def seen(self) -> bool:
        """Whether programs started here can have a GPU."""
        return bool(self.count)

    @property
    def hidden(self) -> bool:
        """Whether there is a GPU, by all signs, that this container was not given."""
        return self.in_container and not self.seen and bool(self.devices or self.named)

    def tell(self) -> str:
        """What was looked at, and what was found, on one line."""
        library = "not there" if self.count is None else f"{self.count} GPUs"
        named = ", ".join(f"{name}={value}" for name, value in self.named.items())
        return "; ".join(
            [
                f"NVML (libnvidia-ml.so.1): {library}",
                f"/proc/driver/nvidia: {'there' if self.driver else 'not there'}",
                f"device files: {', '.join(self.devices) or 'none'}",
                f"environment: {named or 'names no GPU'}",
            ]
        )


def look_for_gpus(
    environment: Mapping[str, str], driver: Path = Path("/proc/driver/nvidia/version"),
    folder: Path = Path("/dev"), count: Callable[[], int | None] = count_gpus, *, in_container: bool = False,
) -> GpuSight:  # fmt: skip
    """Look for a GPU.

    Parameters
    ----------
    environment
        Of this process.
    driver
        The driver's own file.
    folder
        Of device files.
    count
        See `vmafarm.process.gpus.count_gpus`; replaced in tests.
    in_container
        It is known that this process runs in one; else variables of Apptainer's tell.
    """
    devices = sorted(
        str(path) for path in folder.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()
    )
    named = {name: environment[name] for name in _NAMED_BY if environment.get(name, "") not in _NOTHING}
    in_container = in_container or any(environment.get(name) for name in _CONTAINERS)
    return GpuSight(count(), driver.exists(), tuple(devices), named, in_container)
