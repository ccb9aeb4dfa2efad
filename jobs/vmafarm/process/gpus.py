"""How busy GPUs are, and how much of their memory is taken, by NVIDIA's management library (NVML)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"  # installed with the driver; Apptainer's --nv binds it


class _Utilisation(ctypes.Structure):
    """nvmlUtilization_t."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@dataclass(frozen=True)
class GpuSample:
    """One GPU at one moment.

    Attributes
    ----------
    busy
        Share of the last sampling period of the driver (up to a second) in which a kernel ran, 0 to 1;
        None: not known, as for MIG devices.
    used, total
        Bytes of its memory that are taken, by whoever, and that it has.
    """

    busy: float | None
    used: int
    total: int


def count_gpus(load: Callable[[str], Any] = ctypes.CDLL) -> int | None:
    """Number of GPUs that NVML shows to this process; None: its library is not there.

    Parameters
    ----------
    load
        Loads a shared library; replaced in tests.
    """
    try:
        library = load(_LIBRARY)
        count = ctypes.c_uint()
        if library.nvmlInit_v2() != 0 or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return None
    return count.value


class Gpus:
    """Some GPUs of this node.

    Parameters
    ----------
    names
        As CUDA_VISIBLE_DEVICES names them; see `vmafarm.process.node.visible_gpus`.
    load
        Loads a shared library; replaced in tests.

    Notes
    -----
    NVML counts GPUs in the order of their bus, CUDA the fastest first. The order is the same on nodes with
    GPUs of one kind. Names that NVML does not know are left out.
    """

    def __init__(self, names: Sequence[str], load: Callable[[str], Any] = ctypes.CDLL) -> None:
        self._devices: list[ctypes.c_void_p] = []
        try:
            self._library = load(_LIBRARY)
            if self._library.nvmlInit_v2() != 0:
                return
            self._devices = [device for name in names if (device := self._open(name))]
        except (OSError, AttributeError):  # no driver, or one that is older than these functions
            return

    def _open(self, name: str) -> ctypes.c_void_p | None:
        device, library = ctypes.c_void_p(), self._library
        if name.isdigit():
            status = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(device))
        else:
            status = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(device))
        return device if status == 0 else None

    def samples(self) -> list[GpuSample]:
        """Each GPU that answers, now."""
        found = []
        for device in self._devices:
            utilisation, memory = _Utilisation(), _Memory()
            if self._library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) != 0:
                continue
            status = self._library.nvmlDeviceGetUtilizationRates(device, ctypes.byref(utilisation))
            busy = min(utilisation.gpu, 100) / 100 if status == 0 else None
            found.append(GpuSample(busy, memory.used, memory.total))
        return found
