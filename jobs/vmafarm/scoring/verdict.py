"""Faults of the clip itself."""

from __future__ import annotations

import re

from vmafarm.config.clip_limits import Limits
from vmafarm.config.geometry import Geometry
from vmafarm.engines.declared import Declared, missing
from vmafarm.engines.diagnosis import complains_of_memory
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.ffmpeg_report import Report
from vmafarm.engines.judge import judge
from vmafarm.process.finished import Finished
from vmafarm.process.memory import grantable_bytes, spare_bytes
from vmafarm.schema.extractors import MIN_SIDE


def judge_clip(
    report: Report, finished: Finished, declared: Declared, limits: Limits, *, decoded_alone: bool = False
) -> None:
    """Raise ClipFailedError if ffmpeg's messages show a fault of the clip itself.

    Parameters
    ----------
    report, finished
        Result of a run of ffmpeg.
    declared
        Length that the file declares.
    limits
        Limits of the clip.
    decoded_alone
        ffmpeg did nothing but decode: only the clip can be to blame for how it ended, and memory was not
        lacking if this machine has `limits.decoder_memory` left.
    """
    if report.frames > limits.max_frames:
        raise too_many_frames(f"more than {limits.max_frames:,}", limits)
    if _NO_THREAD in finished.stderr:
        raise ClipFailedError(
            "engine_error", "ffmpeg could not start a thread: is there a limit on processes?", finished
        )
    problem = judge(report, finished.returncode)
    if problem is None and decoded_alone:
        problem = _not_decoded(report, finished)
    if problem is None and (cut := missing(declared, report)):
        problem = "incomplete_decode", f"the file is cut: {cut}"
    if problem is None:
        return
    if complains_of_memory(finished) and not (decoded_alone and spare_bytes() >= limits.decoder_memory):
        # With too little memory, decoders skip what they cannot hold and continue.
        lacking = f"the decoder could not allocate memory ({problem[1]})"
        # If programs may not use as much as they should, running fewer at once proves nothing.
        proves = grantable_bytes() >= limits.decoder_memory
        raise ClipFailedError("out_of_memory", lacking, finished, otherwise=problem if proves else None)
    raise ClipFailedError(*problem, finished, limit="max_pixels" if problem[0] == "too_large" else "")


def _not_decoded(report: Report, finished: Finished) -> tuple[str, str] | None:
    """Why an ffmpeg that only decoded failed."""
    if finished.returncode == 0:
        return None if report.frames else ("no_frames", "the video stream has no frames")
    if finished.crashed:
        return "decode_error", f"ffmpeg crashes on it, with nothing to do but decode: {finished.ending()}"
    if finished.returncode < 0:  # a signal from outside
        return "engine_error", f"ffmpeg: {finished.ending()}"
    if report.errors:
        return "decode_error", f"it cannot be decoded: ffmpeg: {finished.ending()}: {report.errors[0]}"
    # It said nothing about the clip.
    return "engine_error", f"ffmpeg: {finished.ending()}"


def check_samples(finished: Finished) -> None:
    """Raise ClipFailedError if libvmaf was given samples beyond the bit depth.

    Decoders of damaged 10-bit H.264 conceal errors without clipping (measured, ffmpeg 9). An extractor that
    checks refuses the frame; the others were not made for such samples either.
    """
    if _BEYOND.search(finished.stderr):
        raise ClipFailedError(
            "decode_error",
            "damaged: it decodes to samples beyond its bit depth, which libvmaf refuses",
            finished,
        )


_NO_THREAD = "pthread_create() failed"
"""Decoders and demuxers print it together with complaints about the clip (ffmpeg 9, RLIMIT_NPROC)."""
_BEYOND = re.compile(r"input contains values greater than \d+, which exceeds the maximum value")


def too_many_frames(found: str, limits: Limits) -> ClipFailedError:
    """The failure of a clip with more frames than `Limits.max_frames`."""
    message = f"{found} frames: extract.max_frames = {limits.max_frames}"
    return ClipFailedError("too_large", message, limit="max_frames")


def check_pixels(raw: Geometry | None, limits: Limits) -> None:
    """Raise ClipFailedError if the frames of a raw clip are too large, in the words used for other clips."""
    if raw is not None and raw.width * raw.height > limits.max_pixels:
        message = f"frames of {raw.width}x{raw.height}: more than extract.max_pixels = {limits.max_pixels}"
        raise ClipFailedError("too_large", message, limit="max_pixels")


def check_side(width: int, height: int) -> None:
    """Raise ClipFailedError if libvmaf refuses frames of this size."""
    if 0 < min(width, height) < MIN_SIDE:
        raise ClipFailedError("too_small", f"{width}x{height}: libvmaf needs at least {MIN_SIDE} pixels")
