"""One interface, two engines: ``ffmpeg`` (embedded libvmaf) and ``vmaf`` (the fork)."""

from __future__ import annotations

import shutil
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.config.clip_limits import DEFAULT_LIMITS, Limits
from vmafarm.config.sections import EngineSection
from vmafarm.engines.base import Engine, EngineInfo, Pass
from vmafarm.engines.ffmpeg import FfmpegEngine
from vmafarm.engines.vmaf import VmafEngine

__all__ = ["Engine", "EngineInfo", "FfmpegEngine", "Pass", "VmafEngine", "find_ffmpeg", "make_engine"]


def make_engine(section: EngineSection, limits: Limits = DEFAULT_LIMITS) -> Engine:
    """The engine that the configuration asks for.

    Parameters
    ----------
    section
        ``[engine]``; ``kind = "auto"`` is ``vmaf`` where that program is found, else ``ffmpeg``.
    limits
        What a clip may take.

    Raises
    ------
    UnavailableError
        A program is not there.
    UsageError
        CUDA is asked of the embedded engine, which has none.
    """
    ffmpeg = find_ffmpeg(section.ffmpeg)
    vmaf = shutil.which(section.vmaf)
    kind = section.kind
    if kind == "auto":
        kind = "vmaf" if vmaf else "ffmpeg"
    if kind == "vmaf":
        if vmaf is None:
            raise UnavailableError(
                f"the program {section.vmaf!r} (engine.vmaf) is not there",
                "set engine.vmaf to its path, or engine.kind to ffmpeg",
            )
        return VmafEngine(
            Path(vmaf).absolute(), ffmpeg, section.plan, section.backend, section.threads, limits
        )
    if section.backend == "cuda":
        raise UsageError(
            'engine.backend = "cuda", but the embedded engine (ffmpeg) computes on the CPU'
            + ("" if section.kind == "ffmpeg" else f"; the program {section.vmaf!r} was not found"),
            'set engine.backend = "cpu", or engine.kind = "vmaf" and engine.vmaf',
        )
    return FfmpegEngine(ffmpeg, section.plan, "cpu", section.threads, limits)


def find_ffmpeg(name: str) -> Path:
    """Path of the ffmpeg to use; an empty name is the one that comes with imageio-ffmpeg.

    Raises
    ------
    UnavailableError
        There is none.
    """
    if name:
        found = shutil.which(name)
        if found is None:
            raise UnavailableError(f"the program {name!r} (engine.ffmpeg) is not there", "set engine.ffmpeg")
        return Path(found).absolute()
    import imageio_ffmpeg

    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UnavailableError(f"imageio-ffmpeg brings no program for this machine: {error}") from None
