"""Audits: a few clips are scored with both plans.

They show whether the constants that ``identity`` fills in are the values that ``full`` measures, and what
each plan costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UnavailableError
from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import EngineSection
from vmafarm.engines import make_engine
from vmafarm.engines.base import Engine
from vmafarm.process.run import Stop
from vmafarm.run_folder.planned_clips import name_digest
from vmafarm.schema.features import IDENTITY_TOLERANCE, KNOWN, identity_value

Values = Mapping[str, NDArray[np.float64]]
"""Feature to its value on each frame, float64 of shape (frames,); NaN where the log has null."""

OUTCOMES = ("differs", "equal", "failed", "")
"""Results of an audit, the worst first; "": the clip was not audited."""


@dataclass(frozen=True)
class Audit:
    """Result of scoring a clip with the other plan as well.

    Attributes
    ----------
    outcome
        One of `OUTCOMES`.
    seconds
        Wall time of the other plan's passes; NaN if unknown.
    note
        What differs, or why nothing could be compared; else "".
    """

    outcome: str = ""
    seconds: float = math.nan
    note: str = ""


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


def make_auditor(section: EngineSection, limits: Limits, scratch: Path, stop: Stop, gpu: str = "") -> Engine:
    """The same engine with the other plan, probed, on this GPU alone if one is named."""
    other = "full" if section.plan == "identity" else "identity"
    auditor = replace(make_engine(section.model_copy(update={"plan": other}), limits), gpu=gpu)
    try:
        return auditor.probed(scratch, stop)
    except UnavailableError:
        # The run itself does not need this engine: its audits fail, and each says so.
        return auditor


def wrong_constants(values: Values, bit_depth: int, width: int, height: int) -> list[str]:
    """Known features whose measured value is not their constant.

    Parameters
    ----------
    values
        Measured values; known features that were not measured are skipped.
    bit_depth, width, height
        Of the frames.

    Returns
    -------
    list of str
        One line per feature: value found, first such frame, value expected.
    """
    wrong = []
    for name in KNOWN:
        if name not in values:
            continue
        expected = identity_value(name, bit_depth, width, height)
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


def _first(found: NDArray[np.float64], expected: NDArray[np.float64]) -> int | None:
    """First frame on which two values differ; values that are not finite count as equal."""
    finite = np.isfinite(found)
    both = finite & np.isfinite(expected)
    apart = np.abs(np.where(both, found, 0.0) - np.where(both, expected, 0.0)) > IDENTITY_TOLERANCE
    differs = np.flatnonzero(apart | (finite != np.isfinite(expected)))
    return int(differs[0]) if differs.size else None


def _say(value: float) -> str:
    return f"{value:.9g}" if math.isfinite(value) else "NaN"
