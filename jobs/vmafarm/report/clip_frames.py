"""What the verb plot does: finds the frames of one clip, and writes their picture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vmafarm.common.errors import IncompleteError, UsageError, reason, show
from vmafarm.config.sections import Config
from vmafarm.corpus.planned_set import keeps_frames
from vmafarm.disk.durable import replace
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.published.frames_by_clip import FramesTable, OtherTableError, opened_frames
from vmafarm.query.text import require_place
from vmafarm.run_folder.label_columns import NAME
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder, slice_folder
from vmafarm.schema.read_set import close
from vmafarm.shards.clip_log import list_clip_logs, read_clip_log, shard_of

KINDS = (".svg", ".png")
"""Suffixes of pictures."""
SUFFIX = ".frames.parquet"


@dataclass(frozen=True)
class Plotted:
    """A picture that was written.

    Attributes
    ----------
    path
        The file.
    features
        The features in it.
    left_out
        Those that do not vary within the clip, and were not asked for.
    frames
        Of the clip.
    """

    path: Path
    features: tuple[str, ...]
    left_out: tuple[str, ...]
    frames: int


def plot_clip(
    config: Config, clip: str, features: str | None, output: Path | None, table: Path | None = None
) -> Plotted:
    """Draw features of one clip over its frames.

    Parameters
    ----------
    config
        Of the run, with what its plan froze; of a table that lies alone, any.
    clip
        Its name, as in the table.
    features
        Names with commas between; None: those that vary within the clip.
    output
        Picture to write, by its suffix; None: an SVG named after the clip in the working folder.
    table
        A frames table, or the table beside it; None: that of the run.

    Raises
    ------
    UsageError
        There is no such clip or feature, the run keeps no frames or is not published, no picture can be
        written there, or the file is no frames table.
    IncompleteError
        The frames are damaged, or not those of the table beside them.
    UnavailableError
        This user has no permission to read them, or no space is left.
    """
    output = output or default_output(clip)
    if output.suffix.lower() not in KINDS:
        raise UsageError(f"{show(str(output))}: an unknown suffix", f"choose {' or '.join(KINDS)}")
    require_place(output)
    path = _frames_of_run(config) if table is None else given_frames(table)
    with _explained(path, None if table else config.run.name), opened_frames(path) as frames:
        beside = config.folder.table if table is None else path.with_name(_stem(path) + ".parquet")
        if table is None or beside.exists():
            frames.head.require_of(beside)
        chosen = frames.head.features if features is None else _choose(frames, features, path)
        found = frames.read_clip(clip, chosen)
        if not found:
            raise _no_clip(clip, frames.clips(), path)
    from vmafarm.report.clip_plot import Curve, draw_clip  # matplotlib takes long to import

    curves = [Curve(frames.head.feature_set.by_name[name], found[name]) for name in chosen]
    if features is None:
        curves = [curve for curve in curves if curve.varies] or curves
    drawn = tuple(curve.feature.name for curve in curves)
    count = len(curves[0].values)
    fps = frame_rate(config.folder, clip, count) if table is None else None
    picture = draw_clip(clip, curves, fps, output.suffix[1:].lower())
    replace(output, lambda file: file.write(picture))
    return Plotted(output, drawn, tuple(name for name in chosen if name not in drawn), count)


def default_output(clip: str) -> Path:
    """An SVG in the working folder named after a clip, in characters that need no care in a shell."""
    stem = re.sub(r"[^\w.+-]", "_", PurePosixPath(clip).stem).lstrip("-")
    return Path(f"{stem or 'clip'}.svg")


def given_frames(table: Path) -> Path:
    """A frames table, given itself or the table beside it."""
    beside = table.with_name(f"{table.stem}{SUFFIX}")
    return beside if not table.name.endswith(SUFFIX) and beside.exists() else table


def _stem(path: Path) -> str:
    return path.name.removesuffix(SUFFIX)


def _frames_of_run(config: Config) -> Path:
    """The frames table of a run; raises UsageError or IncompleteError if there is none, and says why."""
    folder = config.folder
    name = show(folder.name)
    if not folder.table.exists():
        raise UsageError(
            f'the run "{name}" is not merged yet: its frames are published with its table',
            f"see what is missing: vmafarm status --run {name}; then vmafarm merge --run {name}",
        )
    if folder.frames_table.exists():
        return folder.frames_table
    if keeps_frames(config):
        raise IncompleteError(
            f"{show(str(folder.frames_table))} is not there, although the run keeps the values of frames",
            f"write it again: vmafarm merge --run {name}",
        )
    raise UsageError(
        f'the run "{name}" does not keep the values of frames (engine.frames is false)',
        "score its clips again in a new run: vmafarm run --frames --run NAME --clips DIR --scores FILE",
    )


@contextmanager
def _explained(path: Path, run: str | None) -> Iterator[None]:
    """Say which file cannot be used, and what to do about it."""
    again = f"write it again: vmafarm merge --run {show(run)}" if run else ""
    try:
        yield
    except PermissionError:
        raise denied(path) from None
    except FileNotFoundError:
        raise UsageError(
            f"{show(str(path))} is not there", f"--table takes full_features_<run>{SUFFIX}"
        ) from None
    except OtherTableError as error:
        raise IncompleteError(
            f"{show(str(path))} does not belong here: {error}", again or "move one of both away"
        ) from None
    except DamagedError as error:
        raise IncompleteError(f"{show(str(path))}: {error}", again or "restore it from a copy") from None
    except OSError as error:
        raise UsageError(f"{show(str(path))} cannot be read: {reason(error)}", again) from None


def _choose(frames: FramesTable, given: str, path: Path) -> tuple[str, ...]:
    there, features = frames.head.features, frames.head.feature_set
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    for name in names:
        if name in there:
            continue
        if name in features.names:
            raise UsageError(
                f"{name} has no values by frame in {show(path.name)}: it was filled in, not measured",
                f"choose of {', '.join(there)}; a run with engine.plan=full measures all",
            )
        raise UsageError(
            f"--features: {show(name) or 'an empty name'} is not in {show(path.name)}, expected "
            f"{close(name, there)}", "leave the option out for all features that vary",
        )  # fmt: skip
    return names


def _no_clip(clip: str, names: Sequence[str], path: Path) -> UsageError:
    if not names:
        return UsageError(f"{show(str(path))} has no clips", "merge its run when clips are scored")
    wanted = clip.casefold()
    alike = [name for name in names if wanted in name.casefold()][:_SHOWN] if wanted else []
    alike = alike or get_close_matches(clip, names, _SHOWN)
    hint = f"did you mean {' or '.join(map(show, alike))}?" if alike else f"such as {show(names[0])}"
    return UsageError(f"there is no clip {show(clip) or '(an empty name)'} in {show(str(path))}", hint)


_SHOWN = 3


def frame_rate(folder: RunFolder, clip: str, frames: int) -> float | None:
    """Frames per second of a clip, as the log of its slice says; None if that cannot be told.

    Parameters
    ----------
    folder
        The run.
    clip
        Its name.
    frames
        That it has: a log of another version of the clip is not meant.
    """
    with suppress(OSError, DamagedError, pa.ArrowException, UnicodeDecodeError, KeyError):
        wanted = slice_folder(_slice_of(folder, clip))
        for path in list_clip_logs(folder)[0]:
            if shard_of(folder, path).parent.name != wanted:
                continue
            with suppress(OSError, DamagedError):
                log = read_clip_log(path, most_rows(folder), [NAME, "frames", "fps"])
                for entry in log.filter(pc.equal(log[NAME], clip)).to_pylist():
                    if entry["frames"] == frames and math.isfinite(entry["fps"]) and entry["fps"] > 0:
                        return float(entry["fps"])
    return None


def _slice_of(folder: RunFolder, clip: str) -> int:
    """The slice of a clip; raises KeyError. Nothing depends on it, so that the digest is not computed."""
    with open_regular(folder.manifest) as file, pq.ParquetFile(file, pre_buffer=False) as manifest:
        for group in range(manifest.num_row_groups):
            at = pc.index(manifest.read_row_group(group, [NAME], use_threads=False)[NAME], clip).as_py()
            if at >= 0:
                found = manifest.read_row_group(group, ["slice"], use_threads=False)["slice"][at].as_py()
                return int(found)
    raise KeyError(clip)
