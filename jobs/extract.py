"""One clip to one row, or one classified failure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.audit import Audit, differences, wrong_constants
from jobs.clip import Clip, ClipFailedError, Extracted
from jobs.engines.base import Engine, Pass, common_diagnosis
from jobs.engines.declared import Declared, declared_seconds, read_declared, shortfall
from jobs.engines.decode import notes, read_report
from jobs.engines.files import check_readable, check_unchanged, read_through
from jobs.engines.logs import Log, LogError, read_log
from jobs.engines.vmaf import VmafEngine
from jobs.failures import CLIP_FAULTS, WRONG_CONSTANT
from jobs.frames import Programs, Source, check_count, check_side, decode, judge_clip, too_many_frames
from jobs.limits import log_bytes
from jobs.process import Finished, Stop
from jobs.schema import EXTRACTORS, FEATURE_NAMES, extractor_accepts, features_of, identity_value

_SECONDS_AT_LEAST = 600.0
_SECONDS_PER_BYTE = 300e-6
"""Full plan on one core: 70 CPU seconds for 120 frames of 960x540 (measured), about 0.5 MB; with a
margin for slow and crowded nodes."""


@dataclass(frozen=True)
class _Scored:
    source: Source
    values: Mapping[str, NDArray[np.float64]]
    refused: frozenset[str]
    seconds: float


def extract(
    clip: Clip,
    engine: Engine,
    scratch: Path,
    name: str,
    *,
    timeout: float = 0.0,
    stop: Stop | None = None,
    scoring: AbstractContextManager[Mapping[str, str]] | None = None,
    auditor: Engine | None = None,
) -> Extracted:
    """Score one clip as an identity pair.

    Parameters
    ----------
    clip
        The clip; opened read-only.
    engine
        Probed.
    scratch
        Folder for temporary files; nothing of this clip is left in it.
    name
        Stem of the temporary files, unique within `scratch`.
    timeout
        Seconds that each child process may take; 0: from the clip's size.
    stop
        Ends the work early.
    scoring
        Held while the engine scores, not while a clip is decoded for it; gives variables for the
        engine's environment.
    auditor
        The engine with the other plan: scores the clip once more, for comparison. The row is that of
        `engine` alone.

    Returns
    -------
    Extracted

    Raises
    ------
    ClipFailedError
        The clip gave no row; ``wrong_constant``: a value that the plan fills in is another one.
    jobs.process.Stopped
        `stop` was set.
    UnavailableError
        This machine cannot go on (scratch full, program gone).
    """
    stamp = check_readable(clip.path, clip.bytes)
    deadline = timeout or _SECONDS_AT_LEAST + stamp.bytes * _SECONDS_PER_BYTE
    programs = Programs(scratch, deadline, stop)
    try:
        declared = read_declared(clip.path)
        if declared.samples > engine.limits.max_frames:
            raise too_many_frames(f"{declared.samples:,}", engine.limits)
        source = Source(clip.path)
        if isinstance(engine, VmafEngine):
            source = decode(clip.path, engine, programs, f"{name}.y4m", declared)
        with scoring or nullcontext({}) as environment:
            scored = _score(source, engine, programs, name, declared, environment)
            again: _Scored | Audit = Audit()
            if auditor is not None:
                again = _score_again(source, auditor, programs, f"{name}-audit", declared, environment)
        check_unchanged(clip.path, stamp)
    except ClipFailedError as failed:
        if failed.failure in CLIP_FAULTS:
            read_through(clip.path, stop)
            check_unchanged(clip.path, stamp)
        elif failed.failure == "timeout" and engine.reads_clips:
            check_count(clip.path, engine, programs)
        raise
    except OSError as error:
        raise ClipFailedError("unreadable", f"cannot be read: {error.strerror}") from None
    finally:
        for path in scratch.glob(f"{name}[.-]*"):
            path.unlink(missing_ok=True)
    audit = again if isinstance(again, Audit) else _audit(engine, scored, again)
    return _finish(clip, engine, scored, audit, declared)


def _score_again(
    source: Source,
    auditor: Engine,
    programs: Programs,
    name: str,
    declared: Declared,
    environment: Mapping[str, str],
) -> _Scored | Audit:
    """By the other plan; that it does not work there costs no row."""
    try:
        return _score(source, auditor, programs, name, declared, environment)
    except ClipFailedError as failed:
        return Audit("failed", note=f"audit: {failed.failure}: {failed.message}")


def _audit(engine: Engine, scored: _Scored, again: _Scored) -> Audit:
    source = again.source
    if source.frames != scored.source.frames:
        return Audit("failed", note=f"audit: {source.frames} frames, {scored.source.frames} before")
    measured = {**again.values, **scored.values}
    wrong = wrong_constants(measured, source.bit_depth, source.width, source.height)
    if wrong and engine.plan == "identity":
        raise ClipFailedError(WRONG_CONSTANT, "; ".join(wrong))
    different = differences(scored.values, again.values)
    reports = (scored.source.report, source.report)
    if different and not wrong and engine.reads_clips and any(one and one.damaged for one in reports):
        return Audit("failed", note="audit: another decode of this damaged clip gave other values")
    told = wrong + different
    return Audit("differs" if told else "equal", again.seconds, "; ".join(f"audit: {one}" for one in told))


def _score(
    source: Source, engine: Engine, programs: Programs, name: str, declared: Declared,
    environment: Mapping[str, str],
) -> _Scored:  # fmt: skip
    refused: set[str] = set()
    seconds = 0.0
    while True:
        passes = engine.passes(source.path, name, refused)
        finished = _run_passes(passes, source, engine, programs, environment)
        seconds += max(one.seconds for one in finished)
        try:
            source = _check_passes(source, engine, finished, declared)
        except ClipFailedError as failed:
            # Where an extractor refuses the frame's size, some builds end the whole run.
            new = _refusing({e for one in passes for e in one.extractors}, source) if source.width else set()
            if failed.failure != "engine_error" or not new:
                raise
            refused |= new
            continue
        logs = [
            _read_pass(source, engine, one, done, programs.scratch)
            for one, done in zip(passes, finished, strict=True)
        ]
        values = {name: array for log in logs for name, array in log.values.items()}
        missing = {f for one in passes for f in one.features} - set(values)
        extractors = {e for e in EXTRACTORS if missing & set(features_of([e]))}
        new = _refusing(extractors, source)
        refused |= new
        if extractors == new and "vmaf" not in missing:
            return _Scored(source, values, frozenset(refused), seconds)
        if not new:
            lacking = [f for f in FEATURE_NAMES if f in missing]
            raise ClipFailedError(
                "missing_feature",
                f"the engine's log has no {', '.join(lacking)} ({source.width}x{source.height})",
                finished[0],
            )


def _refusing(extractors: Collection[str | None], source: Source) -> set[str]:
    return {e for e in extractors if e is not None and not extractor_accepts(e, source.width, source.height)}


def _run_passes(
    passes: list[Pass], source: Source, engine: Engine, programs: Programs, environment: Mapping[str, str]
) -> list[Finished]:
    """Run them side by side; once more those that failed at start, which may pass by itself."""
    frames = engine.limits.max_frames + 1 if engine.reads_clips else source.frames
    ceilings = [
        engine.limits.for_engine(frames, programs.scratch / one.log, cuda=engine.backend == "cuda")
        for one in passes
    ]
    finished: list[Finished] = []
    again = list(range(len(passes)))
    for _ in range(2):
        for i in again:
            (programs.scratch / passes[i].log).unlink(missing_ok=True)
        ended = programs.run(
            [passes[i].arguments for i in again], source.path, [ceilings[i] for i in again], environment
        )
        finished = finished or ended
        for i, one in zip(again, ended, strict=True):
            finished[i] = one
        again = [i for i in again if engine.failed_at_start(finished[i])]
        if not again:
            break
    return finished


def _check_passes(source: Source, engine: Engine, finished: list[Finished], declared: Declared) -> Source:
    """Judge how the passes ended; fills in what only a pass of the embedded engine knows."""
    for one in finished:
        if (problem := common_diagnosis(one)) is not None:
            raise ClipFailedError(
                *problem, one, limit="engine_memory" if one.broke.startswith("memory") else ""
            )
    if engine.reads_clips:
        report = read_report(finished[0].stderr)
        check_side(report.width, report.height)
        if not engine.blames_itself(finished[0]):
            judge_clip(report, finished[0], declared, engine.limits)
        source = Source(source.path, report, report.width, report.height, report.bit_depth, report.frames)
    for one in finished:
        if (problem := engine.diagnose(one)) is not None:
            raise ClipFailedError(*problem, one)
    return source


def _read_pass(source: Source, engine: Engine, one: Pass, finished: Finished, scratch: Path) -> Log:
    try:
        log = read_log(scratch / one.log, one.features, log_bytes(source.frames))
    except LogError as error:
        raise ClipFailedError(error.failure, str(error), finished) from None
    if (wrong := engine.wrong_backend(one, log.backend)) is not None:
        raise ClipFailedError("engine_error", wrong, finished)
    if log.frames != source.frames:
        raise ClipFailedError(
            "bad_log", f"the log has {log.frames} frames, {source.frames} were decoded", finished
        )
    return log


def _finish(clip: Clip, engine: Engine, scored: _Scored, audit: Audit, declared: Declared) -> Extracted:
    source = scored.source
    assert source.report is not None
    row: dict[str, Any] = {
        "clip_name": clip.name, "mos": clip.mos, "width": source.width, "height": source.height
    }  # fmt: skip
    for name in FEATURE_NAMES:
        if name in scored.values:
            mean, std = aggregate(scored.values[name])
        elif name in engine.constant():
            mean = identity_value(name, source.bit_depth, source.width, source.height)
            std = math.nan if math.isnan(mean) else 0.0
        else:
            mean = std = math.nan
        row[f"{name}_mean"], row[f"{name}_std"] = mean, std
    remarks = [f"{e} refuses {source.width}x{source.height}" for e in sorted(scored.refused)]
    remarks += [audit.note] if audit.note else []
    report, short = source.report, shortfall(declared, source.report)
    return Extracted(
        row, source.frames, report.fps, report.pixel_format, source.bit_depth,
        source.seconds, scored.seconds, (*remarks, *notes(report, short)), audit.outcome, audit.seconds,
        declared.frames, declared_seconds(declared, report), bool(short), not report.damaged,
    )  # fmt: skip


def aggregate(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and population standard deviation over the finite frames.

    Parameters
    ----------
    values
        float64 array of shape ``(frames,)``.

    Returns
    -------
    mean, std : float
        In float64 with ddof = 0; NaN for both if no frame is finite.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return math.nan, math.nan
    return float(finite.mean()), float(finite.std())
