"""The program ``vmaf``, of the fork or upstream: scores a .y4m file given as both reference and distorted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vmafarm.common.errors import UnavailableError
from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import EngineSection
from vmafarm.engines.base import Capabilities
from vmafarm.engines.ffmpeg import find_ffmpeg
from vmafarm.engines.vmaf_probe import probe_vmaf
from vmafarm.engines.vmaf_program import VmafProgram
from vmafarm.process.run import Stop
from vmafarm.schema.extractors import ACCEPTED_SIZES, SIZES_SOURCES


@dataclass(frozen=True)
class VmafEngine(VmafProgram):
    """The program ``vmaf``; see `VmafProgram`."""

    kind = "vmaf"
    runs_in_ffmpeg = False
    accepted_sizes = ACCEPTED_SIZES
    sizes_source = SIZES_SOURCES[kind]

    @classmethod
    def is_installed(cls, section: EngineSection) -> bool:
        """See `Engine.is_installed`."""
        return shutil.which(section.vmaf) is not None

    @classmethod
    def configured(cls, section: EngineSection, limits: Limits) -> Self:
        """See `Engine.configured`."""
        ffmpeg = find_ffmpeg(section.ffmpeg)
        vmaf = shutil.which(section.vmaf)
        if vmaf is None:
            raise UnavailableError(
                f"the program {section.vmaf!r} (engine.vmaf) is not there",
                "set engine.vmaf to its path, or engine.kind to ffmpeg",
            )
        vmaf_path = Path(vmaf).absolute()
        return cls(ffmpeg, section.plan, section.backend, section.threads, vmaf_path, limits=limits)

    def probe(self, folder: Path, stop: Stop | None = None) -> Capabilities:
        """See `Engine.probe`."""
        return probe_vmaf(self, folder, stop)
