"""Audits: a few clips are scored with both plans, and those of a GPU on the CPU.

They show whether the constants that ``identity`` fills in are the values that ``full`` measures, what each
plan costs, and whether a GPU measures what the CPU does. The auditor is the engine with the other plan, on
the CPU. If a GPU measures ``identity``, the CPU's ``full`` has all of its features. If it measures ``full``,
the CPU's ``identity`` lacks the known ones, and these are compared with their constants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UnavailableError
from vmafarm.config.sections import EngineSection
from vmafarm.engines import make_engine
from vmafarm.engines.base import Engine
from vmafarm.process.run import Stop
from vmafarm.run_folder.planned_clips import name_digest
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL, IDENTITY_TOLERANCE

Values = Mapping[str, NDArray[np.float64]]
"""Feature to its value on each frame, float64 of shape (frames,); NaN where the log has null."""

OUTCOMES = ("differs", "equal", "failed", "")
"""Results of an audit, the worst first; "": the clip was not audited."""


@dataclass(frozen=True)
class Audit:
    """Result of scoring a clip with the other plan as well, and on the CPU.

    Attributes
    ----------
    outcome
        One of `OUTCOMES`.
    seconds
        Wall time of the other plan's passes; NaN if unknown.
    note
        What differs, or why nothing could be compared; else "".
    feature
        Where a GPU was compared with the CPU: the feature farthest apart, in units of its tolerance.
    difference
        Its largest absolute difference on a frame; NaN: only one of both has a value, or none was compared.
    """

    outcome: str = ""
    seconds: float = math.nan
    note: str = ""
    feature: str = ""
    difference: float = math.nan


@dataclass(frozen=True)
class Apart:
    """How far a feature on a GPU is from the CPU's on the frames of a clip.

    Attributes
    ----------
    feature
        Its name.
    frame
        The frame of the largest difference; the first on which only one of both has a value, if there is one.
    gpu, cpu
        Values on that frame.
    tolerance
        By `vmafarm.schema.feature_set.Feature.gpu_tolerance`.
    """

    feature: str
    frame: int
    gpu: float
    cpu: float
    tolerance: float

    @property
    def difference(self) -> float:
        """Absolute difference; 0 where neither has a value, NaN where only one has."""
        if not math.isfinite(self.gpu) and not math.isfinite(self.cpu):
            return 0.0
        return abs(self.gpu - self.cpu) if math.isfinite(self.gpu) and math.isfinite(self.cpu) else math.nan

    @property
    def times_tolerance(self) -> float:
        """Difference in units of the tolerance; infinite where only one has a value."""
        return math.inf if math.isnan(self.difference) else self.difference / self.tolerance

    @property
    def beyond(self) -> bool:
        """Whether it is more than the tolerance."""
        return self.times_tolerance > 1

    def __str__(self) -> str:
        return (
            f"{self.feature} is {_say(self.gpu)} on frame {self.frame} on the GPU, {_say(self.cpu)} on the "
            f"CPU (tolerance {self.tolerance:g})"
        )


def audited_clips(names: Sequence[str], every: int, first: str) -> frozenset[str]:
    """Choose the clips to audit: one in so many, at least one of a run, the same ones on every machine.

    Parameters
    ----------
    names
        Clips of the manifest, all or some.
    every
        ``engine.audit_every``; 0: none.
    first
        The one clip of the whole manifest that is audited in any case.

    Returns
    -------
    frozenset of str
        The names whose BLAKE2b digest is divisible by `every`, and the first.
    """
    if not every:
        return frozenset()
    return frozenset(name for name in names if name == first or not int.from_bytes(name_digest(name)) % every)


def make_auditor(section: EngineSection, engine: Engine, scratch: Path, stop: Stop) -> Engine:
    """The same engine with the other plan, on the CPU, probed."""
    other = "full" if section.plan == "identity" else "identity"
    section = section.model_copy(update={"plan": other, "backend": "cpu"})
    auditor = make_engine(section, engine.limits, engine.feature_set)
    try:
        return auditor.probed(scratch, stop)
    except UnavailableError:
        # The run itself does not need this engine: its audits fail, and each says so.
        return auditor


def wrong_constants(
    values: Values, bit_depth: int, width: int, height: int, feature_set: FeatureSet = FULL
) -> list[str]:
    """Known features whose measured value is not their constant.

    Parameters
    ----------
    values
        Measured values; known features that were not measured are skipped.
    bit_depth, width, height
        Of the frames.
    feature_set
        What the engine measures.

    Returns
    -------
    list of str
        One line per feature: value found, first such frame, value expected.
    """
    wrong = []
    for name in feature_set.known:
        if name not in values:
            continue
        expected = feature_set.identity_value(name, bit_depth, width, height)
        at = _first(values[name], np.full(values[name].shape, expected))
        if at is not None:
            wrong.append(f"{name} is {_say(values[name][at])} on frame {at}, expected {_say(expected)}")
    return wrong


def differences(one: Values, other: Values) -> list[str]:
    """Features for which two plans measured different values.

    Parameters
    ----------
    one, other
        Values of the same frames.

    Returns
    -------
    list of str
        One line per feature: both values on the first frame that differs.
    """
    told = []
    for name in one.keys() & other.keys():
        at = _first(one[name], other[name])
        if at is not None:
            found, expected = (_say(values[name][at]) for values in (one, other))
            told.append(f"{name} is {found} on frame {at}, {expected} with the other plan")
    return sorted(told)


def compare_gpu(
    gpu: Values, cpu: Values, bit_depth: int, width: int, height: int, feature_set: FeatureSet = FULL
) -> list[Apart]:
    """Compare each feature that a GPU's run has measured with the CPU.

    Parameters
    ----------
    gpu
        What was measured.
    cpu
        What the CPU measured on the same frames. A known feature that is not among these is compared with
        its constant.
    bit_depth, width, height
        Of the frames.
    feature_set
        What the engine measures.

    Returns
    -------
    list of Apart
        One per feature, the farthest apart first.
    """
    found = []
    for name in (name for name in feature_set.names if name in gpu):
        if name in cpu:
            expected = cpu[name]
        elif name in feature_set.known:
            expected = np.full(gpu[name].shape, feature_set.identity_value(name, bit_depth, width, height))
        else:
            continue
        one, other = np.isfinite(gpu[name]), np.isfinite(expected)
        apart = np.abs(np.where(one & other, gpu[name], 0.0) - np.where(one & other, expected, 0.0))
        frame = int(np.argmax(np.where(one != other, np.inf, apart)))
        tolerance = feature_set.by_name[name].gpu_tolerance[bit_depth]
        found.append(Apart(name, frame, float(gpu[name][frame]), float(expected[frame]), tolerance))
    return sorted(found, key=lambda one: -one.times_tolerance)


def audit_of_gpu(found: Sequence[Apart], seconds: float) -> Audit:
    """The audit of a clip by what `compare_gpu` found."""
    beyond = [one for one in found if one.beyond]
    worst = found[0]
    note = "; ".join(f"audit: {one}" for one in beyond)
    return Audit("differs" if beyond else "equal", seconds, note, worst.feature, worst.difference)


def _first(found: NDArray[np.float64], expected: NDArray[np.float64]) -> int | None:
    """First frame on which two values differ; values that are not finite count as equal."""
    finite = np.isfinite(found)
    both = finite & np.isfinite(expected)
    apart = np.abs(np.where(both, found, 0.0) - np.where(both, expected, 0.0)) > IDENTITY_TOLERANCE
    differs = np.flatnonzero(apart | (finite != np.isfinite(expected)))
    return int(differs[0]) if differs.size else None


def _say(value: float) -> str:
    return f"{value:.9g}" if math.isfinite(value) else "NaN"
