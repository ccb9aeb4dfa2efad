"""Faults of a clip, judged by ffmpeg's report."""

from __future__ import annotations

import re

from vmafarm.common.text import counted
from vmafarm.engines.ffmpeg_report import Report

_GIANT = re.compile(r"Picture size (\d+x\d+) exceeds specified max pixel count (\d+)")
_IMPOSSIBLE = re.compile(r"Picture size ([1-9]\d*x[1-9]\d*) is invalid")
"""ffmpeg itself refuses 16384x16384 and larger, whatever the limit."""


def judge(report: Report, returncode: int) -> tuple[str, str] | None:
    """The clip's own fault, if ffmpeg's report shows one.

    Parameters
    ----------
    report
        From `read_report`.
    returncode
        Exit status of ffmpeg.

    Returns
    -------
    (failure class, message) or None
    """
    first = report.errors[0] if report.errors else f"exit status {returncode}"
    if "not on whitelist" in first:
        return "decode_error", "not a video file: this kind of content is not read as video"
    if not report.opened:
        # ffmpeg says why it cannot open a file; without a message it did not get that far.
        return ("decode_error", f"not a video file that ffmpeg can open: {first}") if report.errors else None
    if not report.streams:
        return "no_video", "the file has no video stream"
    if report.no_decoder:
        return "decode_error", f"no decoder for codec {report.codec}"
    # ffmpeg probes every stream: with several, the message may be about another one.
    if len(report.streams) == 1 or report.frames == 0 or report.decode_errors:
        if found := next(filter(None, map(_GIANT.search, report.errors)), None):
            return "too_large", f"frames of {found[1]}: more than extract.max_pixels = {found[2]}"
        if found := next(filter(None, map(_IMPOSSIBLE.search, report.errors)), None):
            return "too_large", f"frames of {found[1]}: ffmpeg does not support this size"
    if report.changes:
        return "decode_error", "the frame size or the pixel format changes within the clip"
    if report.rebuilt:
        return "decode_error", "its colour or rotation changes too often"
    if report.frames == 0 and (report.cut or report.decode_errors):
        return "decode_error", f"no frame could be decoded: {report.cut or first}"
    if report.decoded == 0:
        return _no_frame(report)
    if report.cut:
        return "incomplete_decode", f"{counted(report.frames, 'frame')} decoded, then: {report.cut}"
    if report.decode_errors:
        return (
            "incomplete_decode",
            f"{counted(report.frames, 'frame')} decoded, "
            f"{counted(report.decode_errors, 'packet')} could not be: {first}",
        )
    return None


def _no_frame(report: Report) -> tuple[str, str]:
    """The clip was read to its end and no frame came out: whatever follows the decoder had nothing to do."""
    if report.errors:
        return "decode_error", f"no frame could be decoded: {report.errors[0]}"
    if report.packets == 0:
        return "no_frames", "the video stream has no frames"
    return "no_frames", (
        f"no frame came out of {counted(report.packets, 'packet')}: "
        "there is no key frame, or an edit list leaves them all out"
    )


def notes(report: Report, short: str) -> list[str]:
    """Remarks on a clip that was decoded.

    Parameters
    ----------
    report
        Report of the decode.
    short
        How the clip is shorter than declared, or "".
    """
    found = []
    if report.errors:
        found.append(f"{counted(len(report.errors), 'decoder message')}, first: {report.errors[0]}")
    if report.damaged:
        first = "" if report.damaged in report.errors else f" ({report.damaged})"
        found.append(f"the decoder concealed damage{first}: another decode may give different values")
    if short:
        found.append(f"shorter than it says: {short}")
    return found
