"""From a clip to what an engine reads: the clip itself, or its decoded frames."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.ceiling import Ceiling, show_bytes
from jobs.clip import ClipFailedError
from jobs.engines.base import Engine, common_diagnosis, complains_of_memory
from jobs.engines.declared import Declared, missing
from jobs.engines.decode import Report, count_arguments, judge, read_count, read_report
from jobs.engines.files import read_y4m
from jobs.engines.vmaf import VmafEngine
from jobs.errors import UnavailableError
from jobs.limits import Limits
from jobs.process import Finished, Stop, run
from jobs.schema import MIN_SIDE


@dataclass(frozen=True)
class Source:
    """What the engine reads, and what is known of its frames."""

    path: Path
    report: Report | None = None
    width: int = 0
    height: int = 0
    bit_depth: int = 8
    frames: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Programs:
    """Starts the programs that work on one clip.

    Attributes
    ----------
    scratch
        Their working folder.
    deadline
        Seconds that each may take.
    stop
        Ends them early.
    """

    scratch: Path
    deadline: float
    stop: Stop | None

    def run(
        self, commands: Sequence[list[str]], source: Path, ceilings: Sequence[Ceiling],
        environment: Mapping[str, str] | None = None,
    ) -> list[Finished]:  # fmt: skip
        """Run them side by side.

        Parameters
        ----------
        commands
            Argument lists.
        source
            What they read; its name is taken out of their messages.
        ceilings
            What each may take.
        environment
            Added to this process's own.

        Raises
        ------
        UnavailableError
            A program cannot be started.
        """
        try:
            finished = run(
                commands, folder=self.scratch, deadline=self.deadline, stop=self.stop,
                environment=environment, ceilings=ceilings,
            )  # fmt: skip
        except OSError as error:
            raise UnavailableError(
                f"cannot run {commands[0][0]}: {error.strerror}", "set engine.ffmpeg or engine.vmaf"
            ) from None
        # What a clip is called must not be taken for a message.
        return [replace(one, stderr=one.stderr.replace(str(source), "CLIP")) for one in finished]


def decode(clip: Path, engine: VmafEngine, programs: Programs, target: str, declared: Declared) -> Source:
    """Decode a clip into a .y4m file in the working folder.

    Parameters
    ----------
    clip
        The clip.
    engine
        That is to read the file.
    programs
        Starts ffmpeg.
    target
        Name of the file.
    declared
        What the clip says of its length.

    Raises
    ------
    ClipFailedError
        There are no frames to score, or not all of them.
    UnavailableError
        The scratch folder is full, or there is no ffmpeg.
    """
    try:
        return _decode(clip, engine, programs, target, declared, by_address_space=True)
    except ClipFailedError as failed:
        if failed.failure not in ("decode_error", "incomplete_decode", "no_frames", "out_of_memory"):
            raise
        # It may be the limit's fault, and a fault of the clip can be final.
        return _decode(clip, engine, programs, target, declared, by_address_space=False)


def _decode(
    clip: Path,
    engine: VmafEngine,
    programs: Programs,
    target: str,
    declared: Declared,
    *,
    by_address_space: bool,
) -> Source:
    limits = engine.limits
    ceiling = limits.for_decoder(by_address_space=by_address_space)
    (finished,) = programs.run([engine.decode_arguments(clip, target)], clip, [ceiling])
    report = read_report(finished.stderr)
    if finished.returncode == -signal.SIGXFSZ:
        most = show_bytes(limits.max_scratch)
        message = f"its frames take more space than extract.max_scratch = {most}"
        raise ClipFailedError("too_large", message, limit="max_scratch")
    if (problem := common_diagnosis(finished, "decoder_memory")) is not None:
        raise ClipFailedError(*problem, finished, limit="decoder_memory" if finished.broke else "")
    judge_clip(report, finished, declared, limits)
    try:
        raw = read_y4m(programs.scratch / target)
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise ClipFailedError("decode_error", f"decoding gave no usable frames: {error}", finished) from None
    if finished.returncode != 0:
        raise ClipFailedError("decode_error", f"ffmpeg: {finished.ending()}", finished)
    if raw.frames != report.frames:
        found = f"the scratch file holds {raw.frames} frames, ffmpeg wrote {report.frames}"
        raise ClipFailedError("unreadable", found, finished)
    if raw.frames == 0:
        raise ClipFailedError("no_frames", "the video stream has no frames", finished)
    check_side(raw.width, raw.height)
    path = programs.scratch / target
    return Source(path, report, raw.width, raw.height, raw.bit_depth, raw.frames, finished.seconds)


def judge_clip(report: Report, finished: Finished, declared: Declared, limits: Limits) -> None:
    """Raise ClipFailedError if what ffmpeg said of a clip shows a fault of the clip itself."""
    if report.frames > limits.max_frames:
        raise too_many_frames(f"more than {limits.max_frames:,}", limits)
    problem = judge(report, finished.returncode)
    if problem is not None and complains_of_memory(finished):
        # With too little memory decoders skip what they cannot hold, and go on.
        problem = "out_of_memory", f"the decoder could not allocate memory ({problem[1]})"
    elif problem is None and (cut := missing(declared, report)):
        problem = "incomplete_decode", f"the file is cut: {cut}"
    if problem is not None:
        raise ClipFailedError(*problem, finished, limit="max_pixels" if problem[0] == "too_large" else "")


def too_many_frames(found: str, limits: Limits) -> ClipFailedError:
    """The failure of a clip with more frames than `Limits.max_frames`."""
    message = f"{found} frames: extract.max_frames = {limits.max_frames}"
    return ClipFailedError("too_large", message, limit="max_frames")


def check_count(clip: Path, engine: Engine, programs: Programs) -> None:
    """Raise ClipFailedError if the clip has too many frames, by its packets: none is decoded."""
    limits = engine.limits
    command = count_arguments(engine.ffmpeg, clip, limits.max_pixels, limits.max_frames + 1)
    (finished,) = programs.run([command], clip, [limits.for_decoder()])
    if read_count(finished.stderr) > limits.max_frames:
        raise too_many_frames(f"more than {limits.max_frames:,}", limits)


def check_side(width: int, height: int) -> None:
    """Raise ClipFailedError if libvmaf takes no frames of this size."""
    if 0 < min(width, height) < MIN_SIDE:
        raise ClipFailedError("too_small", f"{width}x{height}: libvmaf takes {MIN_SIDE} pixels and more")
