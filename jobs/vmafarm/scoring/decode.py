"""What an engine reads: the clip itself, or its decoded frames."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vmafarm.common.errors import UnavailableError
from vmafarm.engines.base import Engine
from vmafarm.engines.declared import Declared
from vmafarm.engines.diagnosis import stopped_from_outside
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.ffmpeg_arguments import (
    FIRST,
    Reading,
    count_arguments,
    decode_arguments,
    read_count,
    read_counts,
    y4m_arguments,
)
from vmafarm.engines.ffmpeg_report import Report, read_report
from vmafarm.engines.media_files import read_y4m
from vmafarm.process.finished import Finished
from vmafarm.process.process_limits import Ceiling, show_bytes
from vmafarm.process.run import Stop, run
from vmafarm.process.scratch import check_scratch
from vmafarm.run_folder.failures import ENGINE_FAULTS
from vmafarm.scoring.verdict import check_side, judge_clip, too_many_frames

_MAY_LACK_MEMORY = ("decode_error", "incomplete_decode", "no_frames", "out_of_memory", "engine_error")
"""Failures that a lack of address space can cause."""


@dataclass(frozen=True)
class Source:
    """What the engine reads, and what is known about its frames."""

    path: Path
    declared: Declared
    report: Report | None = None
    width: int = 0
    height: int = 0
    bit_depth: int = 8
    frames: int = 0
    seconds: float = 0.0
    reading: Reading = FIRST


@dataclass(frozen=True)
class Programs:
    """Starts the programs that work on one clip.

    Attributes
    ----------
    scratch
        Their working folder.
    deadline
        Time limit of each, in seconds.
    stop
        Stops them early.
    environment
        Added to this process's own.
    """

    scratch: Path
    deadline: float
    stop: Stop | None
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, commands: Sequence[list[str]], source: Path, ceilings: Sequence[Ceiling]) -> list[Finished]:
        """Run them side by side.

        Parameters
        ----------
        commands
            Argument lists.
        source
            What they read; its name is removed from their messages.
        ceilings
            Limits of each.

        Raises
        ------
        UnavailableError
            A program cannot be started, or the scratch folder is gone.
        """
        try:
            finished = run(
                commands, folder=self.scratch, deadline=self.deadline, stop=self.stop,
                environment=self.environment, ceilings=ceilings,
            )  # fmt: skip
        except OSError as error:
            check_scratch(self.scratch)
            raise UnavailableError(
                f"cannot run {commands[0][0]}: {error.strerror}", "set engine.ffmpeg or engine.vmaf"
            ) from None
        # A clip's name must not be mistaken for a message.
        return [replace(one, stderr=one.stderr.replace(str(source), "CLIP")) for one in finished]


def prepare(
    clip: Path, engine: Engine, programs: Programs, target: str, declared: Declared, first: Reading = FIRST
) -> Source:
    """What an engine reads of a clip: the clip itself, or a .y4m file in the working folder.

    Parameters
    ----------
    clip
        The clip.
    engine
        The engine that will score it.
    programs
        Starts ffmpeg.
    target
        Name of the .y4m file.
    declared
        Length that the clip declares.
    first
        How the clip is read first.

    Raises
    ------
    ClipFailedError
        Some or all frames are missing.
    UnavailableError
        The scratch folder is full, or ffmpeg is missing.
    """
    if engine.runs_in_ffmpeg:
        return Source(clip, declared, reading=first)
    try:
        return _decode(clip, engine, programs, target, declared, first, by_address_space=True)
    except ClipFailedError as failed:
        if failed.failure not in _MAY_LACK_MEMORY:
            raise
        # The limit may be the cause, and a fault of the clip can be final.
        return _decode(clip, engine, programs, target, declared, first, by_address_space=False)


def _decode(
    clip: Path,
    engine: Engine,
    programs: Programs,
    target: str,
    declared: Declared,
    first: Reading,
    *,
    by_address_space: bool,
) -> Source:
    limits = engine.limits
    ceiling = limits.for_decoder(by_address_space=by_address_space)
    finished, report, reading = _run_decoder(y4m_arguments(target), clip, engine, programs, ceiling, first)
    if finished.returncode == -signal.SIGXFSZ:
        most = show_bytes(limits.max_scratch)
        message = f"its frames take more space than extract.max_scratch = {most}"
        raise ClipFailedError("too_large", message, limit="max_scratch")
    if (problem := stopped_from_outside(finished, "decoder_memory")) is not None:
        raise ClipFailedError(*problem, finished, limit="decoder_memory" if finished.excess else "")
    judge_clip(report, finished, declared, limits, decoded_alone=True)
    try:
        raw = read_y4m(programs.scratch / target)
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise ClipFailedError("decode_error", f"decoding gave no usable frames: {error}", finished) from None
    if raw.frames != report.frames:
        found = f"the scratch file holds {raw.frames} frames, ffmpeg wrote {report.frames}"
        raise ClipFailedError("unreadable", found, finished)
    check_side(raw.width, raw.height)
    path = programs.scratch / target
    return Source(
        path, declared, report, raw.width, raw.height, raw.bit_depth, raw.frames, finished.seconds, reading
    )


def _run_decoder(
    output: Sequence[str],
    clip: Path,
    engine: Engine,
    programs: Programs,
    ceiling: Ceiling,
    first: Reading,
) -> tuple[Finished, Report, Reading]:
    """Run ffmpeg to decode only, and again in another way if `read_again` says so."""
    limits = engine.limits
    again: Reading | None = first
    while again is not None:
        reading = again
        command = decode_arguments(engine.ffmpeg, clip, limits.max_pixels, limits.max_frames + 1, reading)
        (finished,) = programs.run([[*command, *output]], clip, [ceiling])
        report = read_report(finished.stderr)
        again = read_again(clip, reading, report, finished, engine, programs)
    return finished, report, reading


def read_again(
    clip: Path, reading: Reading, report: Report, finished: Finished, engine: Engine, programs: Programs
) -> Reading | None:
    """How to read a clip again, judged by the first reading; None: it was read correctly.

    A stream of one packet beside others is a picture (a cover or thumbnail without that disposition): the
    first stream with more packets is the video. If all have one, or the first has more or none, the first
    stream is scored.

    If ffmpeg rebuilt the filter graph for frames of the same size and pixel format, the graph of the first
    frame is kept.

    Parameters
    ----------
    clip
        The clip.
    reading, report, finished
        How it was read, and the result.
    engine, programs
        They count the packets of the streams, only for clips with several streams of which the first has at
        most one packet.
    """
    if finished.timed_out or finished.excess:
        return None
    if reading.stream == FIRST.stream and len(report.streams) > 1 and report.packets <= 1:
        first, *others = report.streams
        # A stream of unknown size cannot be counted, and need not be if its packets were.
        unknown = others if report.packets else [first, *others]
        command = count_arguments(engine.ffmpeg, clip, engine.limits.max_pixels, 2, map(str, unknown))
        (counting,) = programs.run([command], clip, [engine.limits.for_decoder()])
        counts = {first: report.packets} | read_counts(counting.stderr)
        if counts[first] == 1 and (video := next((n for n in others if counts.get(n, 0) > 1), None)):
            return Reading(str(video))
    # The graph may stay only if no message about sizes was lost.
    if report.rebuilt and not report.changes and not finished.cut and not reading.keep_range:
        return replace(reading, keep_range=report.color_range)
    return None


def look_closer(
    failed: ClipFailedError, clip: Path, engine: Engine, programs: Programs, declared: Declared,
    first: Reading = FIRST,
) -> ClipFailedError:  # fmt: skip
    """The clip's own fault that explains a failure, if there is one; else the failure itself.

    An engine that decodes and scores in one process can fail for either reason. The engine is at fault only
    if the same clip decodes without it.

    Parameters
    ----------
    failed
        How the clip failed.
    clip
        The clip.
    engine, programs
        What was used.
    declared
        Length that the file declares.
    first
        How the clip is read first.
    """
    try:
        if engine.runs_in_ffmpeg and failed.failure == "timeout":
            _check_count(clip, engine, programs, first)
            return failed
        suspicious = failed.failure in (*ENGINE_FAULTS, "out_of_memory") and not failed.limit
        if suspicious and engine.runs_in_ffmpeg and _decodes(clip, engine, programs, declared, first):
            failed.otherwise = None  # the engine lacked memory; the clip does not need too much
    except ClipFailedError as closer:
        return closer
    return failed


def _decodes(clip: Path, engine: Engine, programs: Programs, declared: Declared, first: Reading) -> bool:
    """Whether the clip decodes without the engine; False: unknown. Raises ClipFailedError if it does not."""
    limits = engine.limits
    ceiling = limits.for_decoder(by_address_space=False)
    finished, report, _ = _run_decoder(("-f", "null", "-"), clip, engine, programs, ceiling, first)
    if stopped_from_outside(finished, "decoder_memory") is not None:
        return False
    judge_clip(report, finished, declared, limits, decoded_alone=True)
    return True


def _check_count(clip: Path, engine: Engine, programs: Programs, first: Reading) -> None:
    """Raise ClipFailedError if the clip has too many frames; counts packets and decodes nothing."""
    limits = engine.limits
    command = count_arguments(engine.ffmpeg, clip, limits.max_pixels, limits.max_frames + 1, reading=first)
    (finished,) = programs.run([command], clip, [limits.for_decoder()])
    if read_count(finished.stderr) > limits.max_frames:
        raise too_many_frames(f"more than {limits.max_frames:,}", limits)
