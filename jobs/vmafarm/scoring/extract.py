"""One clip to one row, or one classified failure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmafarm.engines.base import Engine, Pass
from vmafarm.engines.declared import declared_seconds, read_declared, shortfall
from vmafarm.engines.diagnosis import stopped_from_outside
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.ffmpeg_arguments import Reading
from vmafarm.engines.ffmpeg_report import read_report
from vmafarm.engines.judge import notes
from vmafarm.engines.media_files import check_readable, check_unchanged, hash_clip, read_through
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop
from vmafarm.run_folder.failures import CLIP_FAULTS, ENGINE_FAULTS, WRONG_CONSTANT
from vmafarm.schema.extractors import MIN_SIDE
from vmafarm.scoring.audit import Audit, audit_of_gpu, compare_gpu, differences, wrong_constants
from vmafarm.scoring.clip import Clip, Extracted
from vmafarm.scoring.deadline import most_seconds
from vmafarm.scoring.decode import Programs, Source, look_closer, prepare, read_again
from vmafarm.scoring.frames import check_finite, check_motion, finite_frames, repeated_frames
from vmafarm.scoring.passes import read_pass, run_passes
from vmafarm.scoring.pools import pool, pool_constant
from vmafarm.scoring.refusals import (
    CrashedError,
    crash_suspects,
    describe_pass,
    refusing,
    remark,
    without_crashing,
)
from vmafarm.scoring.verdict import check_pixels, check_samples, check_side, judge_clip, too_many_frames


@dataclass(frozen=True)
class Scored:
    """What an engine made of a source: values of each feature per frame, remarks, and its wall time."""

    source: Source
    values: Mapping[str, NDArray[np.float64]]
    remarks: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Scorer:
    """What clips are scored with on this machine.

    Attributes
    ----------
    engine
        With the capabilities of its build.
    scratch
        Folder for temporary files.
    stop
        Stops the work early.
    timeout
        Time limit of each child process in seconds; 0: from the clip's size, 10 minutes to a day.
    auditor
        What scores audited clips again for comparison; see `vmafarm.scoring.audit`. The row comes from
        `engine` alone.
    frames
        Hand over each frame's values as well.
    """

    engine: Engine
    scratch: Path
    stop: Stop | None = None
    timeout: float = 0.0
    auditor: Engine | None = None
    frames: bool = False


def extract(
    clip: Clip, scorer: Scorer, name: str, permit: AbstractContextManager[Mapping[str, str]] | None = None
) -> Extracted:
    """Score one clip as an identity pair.

    Parameters
    ----------
    clip
        The clip; opened read-only.
    scorer
        What to score it with; nothing of this clip is left in its scratch folder.
    name
        Stem of the temporary files, unique within the scratch folder.
    permit
        Held while the engine scores, not while a clip is decoded for it; yields variables for the engine's
        environment.

    Returns
    -------
    Extracted

    Raises
    ------
    ClipFailedError
        The clip gave no row; ``wrong_constant``: a constant that the plan fills in differs from its
        measured value.
    vmafarm.process.run.Stopped
        `scorer.stop` was set.
    UnavailableError
        This machine cannot continue (scratch folder full, program missing).
    """
    engine, scratch, stop = scorer.engine, scorer.scratch, scorer.stop
    stamp = check_readable(clip.path, clip.bytes)
    deadline = scorer.timeout or most_seconds(stamp.bytes)
    programs, first = Programs(scratch, deadline, stop), Reading(raw=clip.raw)
    try:
        declared = read_declared(clip.path, clip.raw)
        check_pixels(clip.raw, engine.limits)
        if declared.samples > engine.limits.max_frames:
            raise too_many_frames(f"{declared.samples:,}", engine.limits)
        source = prepare(clip.path, engine, programs, f"{name}.y4m", declared, first)
        with permit or nullcontext({}) as environment:
            programs = replace(programs, environment=environment)
            scored = score_source(source, engine, programs, name)
            _check_frames(scored, engine, stop)
            audit = Audit()
            if clip.audited and scorer.auditor is not None:
                audit = _audit(source, scored, engine, scorer.auditor, programs, f"{name}-audit")
        sha256 = hash_clip(clip.path, deadline, stop)
        check_unchanged(clip.path, stamp)
    except ClipFailedError as failed:
        failed = look_closer(failed, clip.path, engine, programs, declared, first)
        if failed.failure in CLIP_FAULTS:
            read_through(clip.path, deadline, stop)
        if failed.failure in (*CLIP_FAULTS, *ENGINE_FAULTS, WRONG_CONSTANT):
            check_unchanged(clip.path, stamp)
        raise failed from None
    except OSError as error:
        raise ClipFailedError("unreadable", f"cannot be read: {error.strerror}") from None
    finally:
        for path in scratch.glob(f"{name}[.-]*"):
            path.unlink(missing_ok=True)
    values = scored.values if scorer.frames else {}
    return replace(_finish(clip, engine, scored, audit), bytes=stamp.bytes, sha256=sha256, values=values)


def _audit(
    source: Source, scored: Scored, engine: Engine, auditor: Engine, programs: Programs, name: str
) -> Audit:
    """Score with the auditor and compare; a failure there costs no row."""
    try:
        again = score_source(source, auditor, programs, name)
        # What is wrong with a constant is told below.
        _check_frames(again, auditor, programs.stop, auditor.feature_set.must_measure)
    except ClipFailedError as failed:
        return Audit("failed", note=f"audit: {failed.failure}: {failed.message}")
    source = again.source
    if source.frames != scored.source.frames:
        return Audit("failed", note=f"audit: {source.frames} frames, {scored.source.frames} before")
    measured = {**again.values, **scored.values}
    wrong = wrong_constants(measured, source.bit_depth, source.width, source.height, engine.feature_set)
    if wrong and engine.plan == "identity":
        raise ClipFailedError(WRONG_CONSTANT, "; ".join(wrong))
    if engine.backend == "cuda":
        size = source.width, source.height
        apart = compare_gpu(scored.values, again.values, source.bit_depth, *size, engine.feature_set)
        return audit_of_gpu(apart, again.seconds)
    different = differences(scored.values, again.values)
    reports = (scored.source.report, source.report)
    if different and not wrong and engine.runs_in_ffmpeg and any(one and one.damaged for one in reports):
        return Audit("failed", note="audit: another decode of this damaged clip gave other values")
    told = wrong + different
    return Audit("differs" if told else "equal", again.seconds, "; ".join(f"audit: {one}" for one in told))


def _check_frames(
    scored: Scored, engine: Engine, stop: Stop | None, features: Sequence[str] | None = None
) -> None:
    """Raise ClipFailedError (``bad_frames``) if a frame has a value that cannot be right."""
    check_finite(scored.values, features, engine.feature_set)
    if not engine.runs_in_ffmpeg and "motion" in scored.values:
        check_motion(scored.values["motion"], scored.source.path, stop)


def score_source(source: Source, engine: Engine, programs: Programs, name: str) -> Scored:
    """Score what an engine reads; `name` is the stem of its logs. Raises as `extract` does."""

    def score(without: Sequence[str]) -> Scored:
        return _score_without(without, source, engine, programs, name)

    scored, remarks = without_crashing(score)
    return replace(scored, remarks=(*scored.remarks, *remarks))


def _score_without(
    without: Sequence[str], source: Source, engine: Engine, programs: Programs, name: str
) -> Scored:
    refused = refusing(engine, source.width, source.height)
    seconds = 0.0
    while True:
        passes = engine.passes(source.path, name, refused.union(without), source.reading)
        finished = run_passes(passes, source, engine, programs)
        seconds += max((one.seconds for one in finished), default=0.0)
        source = _look(source, engine, finished)
        # The embedded engine learns the frame size from the frames. If an extractor refuses it, nothing of
        # this pass is used, however it ended.
        found = refusing(engine, source.width, source.height)
        if not found <= refused and min(source.width, source.height) >= MIN_SIDE:
            refused |= found
            continue
        if not engine.runs_in_ffmpeg or source.report is None:
            break
        reading = read_again(source.path, source.reading, source.report, finished[0], engine, programs)
        if reading is None:
            break
        source, refused = replace(source, reading=reading), frozenset()
    try:
        _check_passes(source, engine, passes, finished)
    except ClipFailedError as failed:
        if suspects := crash_suspects(passes, finished):
            raise CrashedError(failed, suspects) from None
        raise
    values: dict[str, NDArray[np.float64]] = {}
    for one, done in zip(passes, finished, strict=True):
        values |= read_pass(source, engine, one, done, programs.scratch)
    if missing := {f for one in passes for f in one.features} - set(values):
        lacking = ", ".join(f for f in engine.feature_set.names if f in missing)
        raise ClipFailedError(
            "missing_feature",
            f"the engine's log has no {lacking} ({source.width}x{source.height})",
            finished[0],
        )
    remarks = tuple(remark(e, source.width, source.height) for e in sorted(refused))
    return Scored(source, values, remarks, seconds)


def _look(source: Source, engine: Engine, finished: Sequence[Finished]) -> Source:
    """Fill in what only a pass of the embedded engine shows."""
    if not engine.runs_in_ffmpeg:
        return source
    report = read_report(finished[0].stderr)
    return replace(
        source, report=report, width=report.width, height=report.height,
        bit_depth=report.bit_depth, frames=report.frames,
    )  # fmt: skip


def _check_passes(source: Source, engine: Engine, passes: list[Pass], finished: list[Finished]) -> None:
    """Judge how the passes ended."""
    for done in finished:
        check_samples(done)
        if (problem := stopped_from_outside(done)) is not None:
            limit = "engine_memory" if done.excess and problem[0] == "out_of_memory" else ""
            raise ClipFailedError(*problem, done, limit=limit)
    if engine.runs_in_ffmpeg:
        assert source.report is not None
        check_side(source.width, source.height)
        if not engine.blames_itself(finished[0]):
            judge_clip(source.report, finished[0], source.declared, engine.limits)
    for one, done in zip(passes, finished, strict=True):
        if (problem := engine.diagnose(done)) is not None:
            failure, message = problem
            if not engine.failed_at_start(done):
                message += f" {describe_pass(one, source.width, source.height, source.frames)}"
            raise ClipFailedError(failure, message, done)
    if engine.runs_in_ffmpeg and source.frames and not source.bit_depth:
        found = "ffmpeg's messages do not say whether it fed 8 or 10 bits to libvmaf"
        raise ClipFailedError("engine_error", found, finished[0])


def _finish(clip: Clip, engine: Engine, scored: Scored, audit: Audit) -> Extracted:
    source = scored.source
    declared = source.declared
    assert source.report is not None
    row: dict[str, Any] = {
        "clip_name": clip.name, "mos": clip.mos, "width": source.width, "height": source.height
    }  # fmt: skip
    known = engine.feature_set
    for name in known.names:
        if name in scored.values:
            pooled = pool(scored.values[name], known.pools)
        elif name in engine.constant():
            size = source.width, source.height
            pooled = pool_constant(known.identity_value(name, source.bit_depth, *size), known.pools)
        else:
            pooled = pool_constant(math.nan, known.pools)
        row |= {f"{name}_{what}": value for what, value in pooled.items()}
    remarks = [*scored.remarks, *source.reading.notes(), *([audit.note] if audit.note else [])]
    report, short = source.report, shortfall(declared, source.report)
    unknown_rate = clip.raw is not None and clip.raw.fps is None  # ffmpeg then assumes one
    return Extracted(
        row, source.frames, 0.0 if unknown_rate else report.fps, report.pixel_format, source.bit_depth,
        source.seconds, scored.seconds, (*remarks, *notes(report, short)), audit.outcome, audit.seconds,
        audit.feature, audit.difference, declared.frames, declared_seconds(declared, report), bool(short),
        not report.damaged, engine.backend, finite_frames(scored.values, source.frames, known),
        len(repeated_frames(scored.values["motion"])) if "motion" in scored.values else 0,
    )  # fmt: skip
