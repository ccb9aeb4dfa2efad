"""Runs the passes of an engine over one clip and reads their logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.text import counted
from vmafarm.config.clip_limits import log_bytes
from vmafarm.engines.base import Engine, Pass
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.filters import read_measured
from vmafarm.engines.libvmaf_log import LogError, read_log
from vmafarm.process.finished import Finished
from vmafarm.scoring.audit import Values
from vmafarm.scoring.decode import Programs, Source


def run_passes(passes: Sequence[Pass], source: Source, engine: Engine, programs: Programs) -> list[Finished]:
    """Run passes side by side, and again those that failed at start, which may be transient.

    Parameters
    ----------
    passes
        Passes of one clip.
    source
        What they read.
    engine
        Knows the limits of a pass and whether it failed at start.
    programs
        Starts them.

    Returns
    -------
    list of Finished
        In the order of `passes`.
    """
    frames = engine.limits.max_frames + 1 if engine.runs_in_ffmpeg else source.frames
    ceilings = [
        engine.limits.for_engine(frames, programs.scratch / one.files[0], cuda=engine.backend == "cuda")
        for one in passes
    ]
    finished: list[Finished] = []
    again = list(range(len(passes)))
    for _ in range(2):
        for i in again:
            for file in passes[i].files:
                (programs.scratch / file).unlink(missing_ok=True)
        ended = programs.run([passes[i].arguments for i in again], source.path, [ceilings[i] for i in again])
        finished = finished or ended
        for i, one in zip(again, ended, strict=True):
            finished[i] = one
        again = [i for i in again if engine.failed_at_start(finished[i])]
        if not again:
            break
    return finished


def read_pass(source: Source, engine: Engine, one: Pass, finished: Finished, scratch: Path) -> Values:
    """Read what a successful pass measured.

    Returns
    -------
    dict
        Feature to float64 array of shape ``(frames,)``.

    Raises
    ------
    ClipFailedError
        It cannot be trusted, lacks frames of the source, or shows that the pass ran elsewhere.
    """
    limit, keys = log_bytes(source.frames), engine.capabilities.keys
    values: dict[str, NDArray[np.float64]] = {}
    try:
        if one.log:
            log = read_log(scratch / one.log, one.in_log, limit, keys, engine.feature_set)
            if (wrong := engine.wrong_backend(one, log.backend)) is not None:
                raise ClipFailedError("engine_error", wrong, finished)
            if one.in_log and log.frames != source.frames:  # without features libvmaf logs no frame
                said = f"the log has {log.frames} frames, {source.frames} were decoded"
                raise ClipFailedError("bad_log", said, finished)
            values |= log.values
        if one.metadata:
            values |= read_measured(scratch / one.metadata, one.feature_set, source.frames, limit)
    except LogError as error:
        said = f"{error} ({source.width}x{source.height}, {counted(source.frames, 'frame')})"
        raise ClipFailedError(error.failure, said, finished) from None
    return values
