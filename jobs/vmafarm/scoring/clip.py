"""A clip and its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmafarm.config.geometry import Geometry


@dataclass(frozen=True)
class Clip:
    """One clip of the manifest.

    Attributes
    ----------
    name
        Path below the clips folder.
    path
        Where it is.
    mos
        Mean opinion score, NaN where the run allows that.
    slice
        The slice it belongs to.
    bytes
        Size in the manifest; None: unknown.
    audited
        Whether it is scored by the auditor as well (see `vmafarm.scoring.audit`).
    raw
        Geometry of a raw clip.
    """

    name: str
    path: Path
    mos: float
    slice: int
    bytes: int | None = None
    audited: bool = False
    raw: Geometry | None = None


@dataclass(frozen=True)
class Extracted:
    """Result of one clip.

    Attributes
    ----------
    row
        The 48 columns.
    frames
        Frames scored.
    fps, pixel_format, bit_depth
        Of the source; bit depth as fed to libvmaf; fps 0: unknown.
    seconds_decoding, seconds_scoring
        Wall time; the embedded engine decodes and scores in one process, which counts as scoring.
    notes
        Remarks, for example on an extractor that refused the frame size.
    audit
        Result of its audit, one of `vmafarm.scoring.audit.OUTCOMES`.
    seconds_other_plan
        `seconds_scoring` of the auditor; NaN: not audited.
    audit_feature, audit_difference
        Of a GPU's audit by the CPU, see `vmafarm.scoring.audit.Audit`; "" and NaN: none.
    declared_frames, declared_seconds
        Length that the file declares; 0 and NaN: none.
    short
        Fewer frames, or a shorter video, than the file declares.
    repeatable
        Another decode gives the same frames; False if the decoder concealed damage.
    backend
        Where it was scored: ``cpu`` or ``cuda``; "": unknown.
    finite_frames
        Frames with a finite value of the measured feature that has the fewest of them; -1: unknown.
    zero_motion
        Frames after the first with a motion of exactly 0; -1: unknown.
    bytes, sha256
        Of the file.
    values
        Values of each measured feature, shape ``(frames,)``, if frames are kept.
    """

    row: dict[str, Any]
    frames: int
    fps: float
    pixel_format: str
    bit_depth: int
    seconds_decoding: float
    seconds_scoring: float
    notes: tuple[str, ...]
    audit: str = ""
    seconds_other_plan: float = math.nan
    audit_feature: str = ""
    audit_difference: float = math.nan
    declared_frames: int = 0
    declared_seconds: float = math.nan
    short: bool = False
    repeatable: bool = True
    backend: str = ""
    finite_frames: int = -1
    zero_motion: int = -1
    bytes: int = 0
    sha256: str = ""
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def log_entry(self) -> dict[str, Any]:
        """Columns of the clip log that say how the clip was scored, but not by whom."""
        entry = {
            one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("row", "values")
        }
        return {**entry, "notes": "; ".join(self.notes)}
