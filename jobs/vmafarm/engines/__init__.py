"""One interface, two engines: ``ffmpeg`` (embedded libvmaf) and ``vmaf`` (the fork or upstream)."""

from __future__ import annotations

from dataclasses import replace

from vmafarm.config.clip_limits import DEFAULT_LIMITS, Limits
from vmafarm.config.sections import EngineSection
from vmafarm.engines.base import Engine
from vmafarm.engines.ffmpeg import FfmpegEngine
from vmafarm.engines.vmaf import VmafEngine
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL

ENGINES: dict[str, type[Engine]] = {engine.kind: engine for engine in (VmafEngine, FfmpegEngine)}
"""Engines by their names in ``engine.kind``; "auto" is the first one that is installed."""


def find_engine(section: EngineSection) -> type[Engine]:
    """The kind of engine that the configuration means."""
    if section.kind != "auto":
        return ENGINES[section.kind]
    return next(engine for engine in ENGINES.values() if engine.is_installed(section))


def make_engine(
    section: EngineSection, limits: Limits = DEFAULT_LIMITS, feature_set: FeatureSet = FULL
) -> Engine:
    """The engine that the configuration asks for, not probed yet.

    Parameters
    ----------
    section
        ``[engine]``; ``kind = "auto"`` is ``vmaf`` where that program is found, else ``ffmpeg``.
    limits
        What a clip may take.
    feature_set
        What it is to measure.

    Raises
    ------
    UnavailableError
        A program is missing.
    UsageError
        CUDA is asked of the embedded engine, which has none.
    """
    return replace(find_engine(section).configured(section, limits), feature_set=feature_set)
