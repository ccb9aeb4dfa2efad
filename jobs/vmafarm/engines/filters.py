"""Filters of ffmpeg that measure frames: how they run, and what they wrote.

They run on the decoded frames, beside libvmaf, at 8 bit: blurdetect and blockdetect know no more, and so the
values of all clips have one scale. Each writes what it measures into the metadata of a frame, and the filter
``metadata`` writes these to a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UnavailableError, show
from vmafarm.config.clip_limits import Limits
from vmafarm.disk.regular_files import read_regular
from vmafarm.engines.base import Pass
from vmafarm.engines.ffmpeg_arguments import input_arguments
from vmafarm.engines.libvmaf_log import LARGEST, LogError
from vmafarm.engines.probe import run_probe
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop
from vmafarm.schema.feature_set import FeatureSet, option_text
from vmafarm.schema.filters import FILTERS

_FRAME = re.compile(r"frame:(\d+) +pts:\S+ +pts_time:\S+")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|nan|inf)")
_NO_FILTER = re.compile(r"No such filter: '(\w+)'")
_OPTION = re.compile(r"Error applying option '(\w+)' to filter '(\w+)': (.*)")


def measuring(features: FeatureSet, file: str) -> str:
    """Filters that measure each frame and write it to a file in the working folder, for a filter graph.

    What a decoder wrote into the metadata is deleted first: it is the clip's own text.
    """
    wanted = {feature.filter for feature in features.features}
    filters = [
        name + "".join(f"{':' if at else '='}{one}={option_text(value)}" for at, (one, value) in enumerate(o))
        for name, o in ((name, options.items()) for name, options in features.filters.items())
        if name in wanted
    ]
    first = "format=pix_fmts=yuv420p,metadata=mode=delete"
    return ",".join([first, *filters, f"metadata=mode=print:file={file}"])


def filter_pass(ffmpeg: Path, source: Path, name: str, features: FeatureSet, limits: Limits) -> Pass:
    """A run of ffmpeg that does nothing but measure with filters; see `Engine.passes` for the parameters."""
    file = f"{name}.txt"
    arguments = [
        *input_arguments(ffmpeg, source, limits.max_pixels),
        *("-lavfi", f"[0:V:0]{measuring(features, file)}[measured]", "-map", "[measured]"),
        *("-fps_mode", "passthrough", "-frames:v", str(limits.max_frames + 1), "-f", "null", "-"),
    ]
    return Pass(arguments, "", (), features, file)


def read_measured(
    path: Path, features: FeatureSet, count: int, max_bytes: int
) -> dict[str, NDArray[np.float64]]:
    """Read what the filters measured.

    Parameters
    ----------
    path
        File that the filter ``metadata`` wrote.
    features
        The set.
    count
        How many frames were decoded.
    max_bytes
        Limit of the file; a larger one is not read.

    Returns
    -------
    dict
        Feature to float64 array of shape ``(frames,)``; NaN where a filter found none.

    Raises
    ------
    LogError
        The file is missing or cut, or not in the layout of that filter, or does not have as many frames; or
        a frame lacks a feature.
    """
    try:
        lines = read_regular(path, max_bytes).decode("ascii").splitlines()
    except FileNotFoundError:
        raise LogError("bad_log", "the filters wrote no file") from None
    except (OSError, ValueError) as error:
        raise LogError("bad_log", f"the file of the filters cannot be read: {error}") from None
    frames: list[dict[str, str]] = []
    for line in lines:
        key, _, value = line.partition("=")
        if (found := _FRAME.fullmatch(line.rstrip())) is not None and int(found[1]) == len(frames):
            frames.append({})
        elif not frames or not value or key in frames[-1]:
            raise LogError("bad_log", f"the file of the filters has the line {show(line)} after frame "
                           f"{len(frames) - 1}, expected the next frame or another key")  # fmt: skip
        else:
            frames[-1][key] = value
    if len(frames) != count:
        raise LogError("bad_log", f"the filters measured {len(frames)} frames, {count} were decoded")
    return {
        feature.name: np.array([_value(feature.name, feature.keys, at, f) for at, f in enumerate(frames)])
        for feature in features.features
        if feature.filter is not None
    }


def _value(name: str, keys: tuple[str, ...], frame: int, measured: Mapping[str, str]) -> float:
    text = next((measured[key] for key in keys if key in measured), None)
    if text is None:
        raise LogError("missing_feature", f"frame {frame} has no {name}: the filters wrote none of {keys[0]}")
    if not _NUMBER.fullmatch(text) or not (not math.isfinite(float(text)) or abs(float(text)) <= LARGEST):
        raise LogError("bad_log", f"{name} is {show(text)} on frame {frame}, expected a number")
    return float(text) if math.isfinite(float(text)) else math.nan


def check_filters(
    ffmpeg: Path, features: FeatureSet, limits: Limits, clip: Path, frames: int, stop: Stop | None
) -> None:
    """Raise UnavailableError if an ffmpeg cannot run the filters of a set, or they do not measure its keys.

    Parameters
    ----------
    ffmpeg, features, limits
        Of the engine.
    clip, frames
        That of the probe, in its scratch folder, and its number of frames.
    stop
        Ends the wait early.
    """
    if not features.filtered:
        return
    one = filter_pass(ffmpeg, clip, "probe", features, limits)
    (clip.parent / one.metadata).unlink(missing_ok=True)
    finished = run_probe(ffmpeg, one.arguments, clip.parent, stop)
    if finished.returncode != 0:
        raise _explained(ffmpeg, features, finished)
    try:
        read_measured(clip.parent / one.metadata, features, frames, 1 << 20)
    except LogError as error:
        raise UnavailableError(
            f"{ffmpeg}: {error}", "correct the keys, or the options, of the feature set"
        ) from None


def _explained(ffmpeg: Path, features: FeatureSet, finished: Finished) -> UnavailableError:
    if (lacks := _NO_FILTER.search(finished.stderr)) is not None:
        columns = ", ".join(feature.name for feature in features.features if feature.filter == lacks[1])
        return UnavailableError(
            f"{ffmpeg} lacks the filter {lacks[1]}: the columns of {columns} cannot be measured",
            "leave engine.ffmpeg empty: the bundled one has it",
        )
    if (wrong := _OPTION.search(finished.stderr)) is not None:
        option, name, why = wrong.groups()
        known = FILTERS[name].options if name in FILTERS else ()
        if option in known:
            value = option_text(features.filters[name][option])
            return UnavailableError(
                f"{ffmpeg}: the filter {name} does not take {option} = {show(value)}: {show(why.strip())}",
                "correct the feature set",
            )
        close = get_close_matches(option, known, 1)
        return UnavailableError(
            f"{ffmpeg}: the filter {name} has no option {option}",
            f"is {close[0]} meant? Correct the feature set" if close else f"it has {', '.join(known)}",
        )
    return UnavailableError(
        f"{ffmpeg} cannot run the filters {', '.join(features.filters)}: {finished.ending()}\n"
        + "\n".join(finished.last_lines(4)),
        "correct the options of the feature set",
    )
