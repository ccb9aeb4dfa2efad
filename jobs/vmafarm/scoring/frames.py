"""The values of single frames: whether they can be right, and what is made of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.text import counted
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.media_files import open_luma
from vmafarm.process.run import Stop, Stopped
from vmafarm.run_folder.failures import BAD_FRAMES
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.scoring.audit import Values

HIDDEN_MOTION = 0.01
"""Motion in luma levels at 8 bit, up to which libvmaf may give exactly 0.

It blurs each frame in two passes and rounds after each to 1/256 level (libvmaf, integer_motion.c), so a
blurred sample is off by at most 1/256 level, and the difference of two by at most 1/128. How far the frames
themselves differ proves nothing: where a checkerboard of 3 levels appears, which the blur removes, the
embedded libvmaf gives exactly 0 (measured)."""

_BLUR = np.array([3571, 16004, 26386, 16004, 3571], np.float32) / 65536
"""The filter of libvmaf's motion (libvmaf, integer_motion.c)."""


def check_finite(
    values: Values, features: Collection[str] | None = None, feature_set: FeatureSet = FULL
) -> None:
    """Refuse frames without a finite value, which a mean would leave out without a trace.

    Parameters
    ----------
    values
        Measured values.
    features
        Those that must be finite; the ones that were not measured are skipped. None: all that the set says.
    feature_set
        The engine's.

    Raises
    ------
    ClipFailedError
        ``bad_frames``: which features, on how many frames, and the first of these.
    """
    told = []
    wanted = feature_set.must_be_finite if features is None else features
    for name in feature_set.names:
        if name in values and name in wanted:
            lacking = np.flatnonzero(~np.isfinite(values[name]))
            if lacking.size:
                told.append(f"{name} has no finite value on {_frames(lacking, len(values[name]))}")
    if told:
        more = f", and {counted(len(told) - _SHOWN, 'more feature')}" if len(told) > _SHOWN else ""
        raise ClipFailedError(BAD_FRAMES, "; ".join(told[:_SHOWN]) + more)


_SHOWN = 3


def _frames(found: NDArray[np.intp], frames: int) -> str:
    if found.size == 1:
        return f"frame {found[0]:,} of {frames:,}"
    return f"{found.size:,} of {frames:,} frames, the first is frame {found[0]:,}"


def check_motion(motion: NDArray[np.float64], y4m: Path, stop: Stop | None = None) -> None:
    """Refuse a motion of exactly 0 on a frame whose picture differs from the one before.

    A race in the CUDA code of motion gives such zeros now and then. A repeated frame has a motion of 0 as
    well, and many videos have some (24 frames a second shown at 30), so the pictures decide.

    Parameters
    ----------
    motion
        Motion of each frame, shape ``(frames,)``; that of the first is always 0.
    y4m
        The frames. Only those with a motion of 0, and the ones before them, are read.
    stop
        Ends the reading early.

    Raises
    ------
    ClipFailedError
        ``bad_frames``: on how many frames, and the first of these.
    OSError
        The frames cannot be read.
    vmafarm.process.run.Stopped
        `stop` was set.
    """
    still = repeated_frames(motion)
    if not still.size:
        return
    wrong = []
    with open_luma(y4m) as luma:
        at, frame = 0, luma(0)
        for number in still.tolist():
            if stop is not None and stop.is_set():
                raise Stopped
            before = frame if at == number - 1 else luma(number - 1)
            at, frame = number, luma(number)
            if least_motion(before, frame) > HIDDEN_MOTION:
                wrong.append(number)
    if wrong:
        where = _frames(np.array(wrong), len(motion))
        raise ClipFailedError(BAD_FRAMES, f"motion is 0 although the picture changes on {where}")


def repeated_frames(motion: NDArray[np.float64]) -> NDArray[np.intp]:
    """Numbers of the frames after the first whose motion is exactly 0."""
    return np.flatnonzero(motion[1:] == 0) + 1


def least_motion(one: NDArray[np.integer], other: NDArray[np.integer]) -> float:
    """Motion between two frames, without the two rows and columns at each edge.

    Versions of libvmaf treat the edges in different ways; whichever it is, the motion is not less than this.

    Parameters
    ----------
    one, other
        Luma of shape ``(height, width)``, uint8, or uint16 at 10 bit.

    Returns
    -------
    float
        In luma levels at 8 bit: mean absolute difference of the blurred frames, before any rounding. 0 where
        the frames themselves differ by `HIDDEN_MOTION` at most, which a blur does not increase.
    """
    if np.array_equal(one, other):
        return 0.0
    change: NDArray[np.float32] = np.subtract(other, one, dtype=np.float32)
    size = change.size * (1 if one.dtype.itemsize == 1 else 4)
    if np.abs(change).sum(dtype=np.float64) <= HIDDEN_MOTION * size:
        return 0.0
    height, width = (side - 4 for side in change.shape)
    rows, blurred = np.zeros((height, width + 4), np.float32), np.zeros((height, width), np.float32)
    for start, weight in enumerate(_BLUR):
        rows += weight * change[start : start + height]
    for start, weight in enumerate(_BLUR):
        blurred += weight * rows[:, start : start + width]
    return float(np.sum(np.abs(blurred), dtype=np.float64)) / size


def finite_frames(values: Values, frames: int, feature_set: FeatureSet = FULL) -> int:
    """Frames with a finite value of the measured feature that has the fewest of them.

    Features that need not be finite do not count, unless no other was measured; all `frames` where none was.
    """
    counts = {name: int(np.isfinite(array).sum()) for name, array in values.items()}
    finite = [count for name, count in counts.items() if name in feature_set.must_be_finite]
    return min(finite or counts.values(), default=frames)
