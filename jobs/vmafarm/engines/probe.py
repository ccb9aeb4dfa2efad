"""The clip of two frames that a probe scores, and how a program of an engine is run on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vmafarm.common.errors import UnavailableError
from vmafarm.config.clip_limits import DEFAULT_LIMITS
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop, run
from vmafarm.process.scratch import check_scratch, in_scratch
from vmafarm.schema.extractors import ACCEPTED_SIZES, ALL_SIZES
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL

PROBE_SIDE = 240
PROBE_FRAMES = 2
PROBE_SECONDS = 120.0
"""Start-up of a GPU driver on a busy node can take a minute."""


def run_probe(
    program: Path, arguments: Sequence[str], folder: Path, stop: Stop | None, gpu: str = ""
) -> Finished:
    """Run a program of the engine once.

    Parameters
    ----------
    program, arguments
        The program, and its whole command line.
    folder
        Working folder.
    stop
        Ends the wait early.
    gpu
        The only GPU that it sees; empty: as the environment says.

    Raises
    ------
    UnavailableError
        It cannot be started or does not end in time.
    """
    try:
        (finished,) = run(
            [arguments], folder=folder, deadline=PROBE_SECONDS, stop=stop,
            ceilings=[DEFAULT_LIMITS.for_engine(PROBE_FRAMES, folder / "probe.json", cuda=True)],
            environment={"CUDA_VISIBLE_DEVICES": gpu} if gpu else None,
        )  # fmt: skip
    except OSError as error:
        check_scratch(folder)
        raise UnavailableError(
            f"cannot run {program}: {error.strerror}", "set engine.ffmpeg or engine.vmaf"
        ) from None
    if finished.timed_out:
        raise UnavailableError(f"{program} did not end within {PROBE_SECONDS:.0f} s on a two-frame clip")
    return finished


def write_probe_clip(path: Path, features: FeatureSet = FULL) -> None:
    """Write two frames as .y4m, large enough for each extractor and model of a set: 240x240, or larger.

    Parameters
    ----------
    path
        Where to.
    features
        The set.

    Raises
    ------
    UnavailableError
        The scratch folder cannot be written.
    """
    sizes = (ACCEPTED_SIZES.get(features.producer_of(feature), ALL_SIZES) for feature in features.features)
    side = max(PROBE_SIDE, *(one.shorter_side for one in sizes))
    luma = bytes((x * 3 + y * 5 + (x * y) // 7) % 220 + 16 for y in range(side) for x in range(side))
    chroma = bytes(side * side // 2).replace(b"\0", b"\x80")
    header = f"YUV4MPEG2 W{side} H{side} F25:1 Ip A1:1 C420jpeg\n".encode()
    moved = luma[side:] + luma[:side]
    with in_scratch(path.parent):
        path.write_bytes(header + b"FRAME\n" + luma + chroma + b"FRAME\n" + moved + chroma)
