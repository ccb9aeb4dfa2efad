"""Checks of the toolkit, ffmpeg, the engine and the GPU driver."""

from __future__ import annotations

import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.config.sections import Config
from vmafarm.corpus.planned_set import measured_set
from vmafarm.doctor.check_result import CheckResult, Machine, in_time
from vmafarm.engines import make_engine
from vmafarm.engines.ffmpeg import find_ffmpeg, read_ffmpeg_version
from vmafarm.images.inside import read_build
from vmafarm.process.gpu_here import read_driver
from vmafarm.process.scratch import scratch_folder
from vmafarm.process.toolkit import version
from vmafarm.schema.features import FULL

OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""Oldest driver branch that runs programs built with a major version of CUDA, from NVIDIA's "CUDA
Compatibility", section "Minor Version Compatibility", table 1
(docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html). Newer drivers run them too."""


def check_toolkit() -> CheckResult:
    """Report the versions of toolkit and Python."""
    return CheckResult("vmafarm", "ok", f"{version()}, Python {platform.python_version()}")


@contextmanager
def _probe_folder(config: Config) -> Iterator[Path]:
    """Yield a scratch folder for a probe: in the configured place or, if that cannot be used, in /tmp.

    Another check reports that the place cannot be used; the engine is still tried.
    """
    place = config.extract.scratch

    def use() -> None:
        with scratch_folder(place):
            pass

    try:
        in_time(place or "the scratch folder", use)
    except UnavailableError:
        if not place:
            raise
        place = ""
    with scratch_folder(place) as folder:
        yield folder


def check_ffmpeg(config: Config) -> CheckResult:
    """Start ffmpeg and report its version.

    Raises
    ------
    UnavailableError
        It is missing, or does not run.
    """
    ffmpeg = find_ffmpeg(config.engine.ffmpeg)
    with _probe_folder(config) as folder:
        found = read_ffmpeg_version(ffmpeg, folder, None)
    which = show(str(ffmpeg)) if config.engine.ffmpeg else "the bundled one (imageio-ffmpeg)"
    return CheckResult("ffmpeg", "ok", f"{show(found)}, {which}")


def check_engine(config: Config, machine: Machine) -> CheckResult:
    """Score two frames with the model and all extractors of the plan, as every element does before its clips.

    Raises
    ------
    UnavailableError
        The engine is missing, does not work, or lacks extractors that the plan measures.
    UsageError
        CUDA is set for the embedded engine, which has none.
    """
    section = config.engine
    features = measured_set(config)
    engine = make_engine(section, feature_set=features)
    untried = (
        section.backend == "cuda" and read_driver(machine.driver) is None and not machine.works_for(config)
    )
    if untried:
        engine = make_engine(section.model_copy(update={"backend": "cpu"}), feature_set=features)
    with _probe_folder(config) as folder:
        engine = engine.probed(folder)
    found = engine.capabilities
    said = [f"{engine.kind} {show(found.version)}"]
    if found.libvmaf_version != found.version:
        said.append(f"libvmaf {show(found.libvmaf_version)}")
    if found.dialect:
        said.append(found.dialect)
    message = f"{', '.join(said)}: plan {engine.plan} on {engine.backend}"
    if features is not FULL:
        message += f", feature set {show(features.name)}"
    if found.decimals:
        message += f"; rounds values to {found.decimals} decimals"
    if found.lacking:
        message += f"; lacks {', '.join(found.lacking)}"
    if constant := engine.constant():
        message += f"; filled in as constants: {', '.join(constant)}"
    if untried:
        return CheckResult(
            "engine", "warning", f"{message}; CUDA was not tried, because this machine has no NVIDIA driver",
            "to try it, run this on a node with a GPU",
        )  # fmt: skip
    return CheckResult("engine", "ok", message)


def check_driver(config: Config, machine: Machine) -> CheckResult:
    """Compare the NVIDIA driver with the CUDA version that the image's program was built with.

    See `OLDEST_DRIVER` for the source of what is needed.

    Raises
    ------
    UnavailableError
        No driver, or one that is too old, on a machine that scores clips.
    UsageError
        The image was built without CUDA.
    """
    name = "driver"
    if config.engine.backend != "cuda":
        return CheckResult(name, "skipped", 'no GPU is used (engine.backend = "cpu")')
    build = read_build(machine.build)
    cuda = build.get("cuda")
    if build and cuda is None:
        raise UsageError(
            'engine.backend = "cuda", but this image was built without CUDA',
            "build the one with CUDA: vmafarm image apptainer.def",
        )
    driver = read_driver(machine.driver)
    problem, hint = _judge_driver(driver, cuda)
    if not problem:
        return CheckResult(name, "ok", f"{driver}" + (f", new enough for CUDA {show(cuda)}" if cuda else ""))
    if driver is not None and not hint:
        return CheckResult(name, "warning", problem)
    if machine.works_for(config):
        raise UnavailableError(problem, hint)
    return CheckResult(name, "warning", f"{problem}; this may differ on nodes with GPUs")


def _judge_driver(driver: str | None, cuda: str | None) -> tuple[str, str]:
    """What is wrong with a driver, and what to do; both empty if nothing is."""
    if driver is None:
        return "no NVIDIA driver on this machine", (
            "choose nodes with GPUs (slurm.gpus or slurm.gres, slurm.partition), or set "
            'engine.backend = "cpu"'
        )  # fmt: skip
    if cuda is None:
        return "", ""
    major = cuda.partition(".")[0]
    needed = OLDEST_DRIVER.get(int(major)) if major.isdigit() else None
    if needed is None:
        return f"{driver}; it is not known here which driver CUDA {show(cuda)} needs", ""
    if int(driver.partition(".")[0]) >= needed:
        return "", ""
    hint = "install a newer driver, or build an image with an older CUDA (--build-arg BUILD_FROM=...)"
    if major == "13":
        hint += "; containers/README.md has the command for CUDA 12, which V100 and P100 need too"
    return f"driver {driver} is too old for CUDA {cuda}, which needs {needed} or newer", hint


CUDA_ADDRESS_SPACE = 14_000_000_000
"""Bytes of address space that CUDA takes for the context of one GPU: 13.96 GB measured with driver 580 on an
H100 (VmPeak); under limits of 2 and 8 GB cuInit fails, under 32 GB it does not."""


def check_address_space(config: Config) -> CheckResult:
    """Look for a limit on virtual memory: CUDA reserves far more than it uses, and fails under a low limit.

    Raises
    ------
    UnavailableError
        The limit is below `CUDA_ADDRESS_SPACE`, and the engine computes with CUDA.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return CheckResult("memory", "ok", "no limit on virtual memory")
    message = f"virtual memory is limited to {limit / 1e9:,.1f} GB (ulimit -v)"
    if config.engine.backend == "cuda" and limit < CUDA_ADDRESS_SPACE:
        raise UnavailableError(
            f"{message}; CUDA needs {CUDA_ADDRESS_SPACE / 1e9:,.0f} GB to start", "ulimit -v unlimited"
        )
    return CheckResult("memory", "warning", message, "if the engine runs out of memory: ulimit -v unlimited")
