"""GPUs as NVML describes them, by a stand-in with its documented functions."""

from __future__ import annotations

import ctypes
from typing import Any

from vmafarm.process.gpus import Gpus, GpuSample


class Nvml:
    """libnvidia-ml.so.1 with GPUs 0 and 1; the second has a name, and does not know how busy it is."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.loaded: list[str] = []

    def load(self, name: str) -> Nvml:
        self.loaded.append(name)
        return self

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return self.status

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int:  # noqa: N802
        return self._hand_out(index.value, device)

    def nvmlDeviceGetHandleByUUID(self, name: bytes, device: Any) -> int:  # noqa: N802
        return self._hand_out({b"GPU-one": 1}.get(name, 9), device)

    @staticmethod
    def _hand_out(index: int, device: Any) -> int:
        device._obj.value = index + 100
        return 0 if index < 2 else 6  # NVML_ERROR_NOT_FOUND

    def nvmlDeviceGetMemoryInfo(self, device: ctypes.c_void_p, memory: Any) -> int:  # noqa: N802
        memory._obj.used, memory._obj.total = device.value - 100 + 5, 80
        return 0

    def nvmlDeviceGetUtilizationRates(self, device: ctypes.c_void_p, rates: Any) -> int:  # noqa: N802
        rates._obj.gpu = 63
        return 0 if device.value == 100 else 3  # NVML_ERROR_NOT_SUPPORTED


def test_gpus_are_found_by_index_and_by_name() -> None:
    nvml = Nvml()
    found = Gpus(["0", "GPU-one", "7", "MIG-unknown"], nvml.load).samples()
    assert nvml.loaded == ["libnvidia-ml.so.1"]
    assert found == [GpuSample(0.63, 5, 80), GpuSample(None, 6, 80)]


def test_without_a_driver_there_are_none() -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    assert Gpus(["0"], missing).samples() == []
    assert Gpus(["0"], Nvml(status=9).load).samples() == []  # NVML_ERROR_DRIVER_NOT_LOADED
    assert Gpus(["0"], lambda name: object()).samples() == []  # a library without these functions
