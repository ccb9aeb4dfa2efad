"""Whether each row that a writer has left on disk has its frames there, and with the right values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vmafarm.disk.sealed_parquet import DamagedError, open_sealed
from vmafarm.run_folder.paths import RunFolder
from vmafarm.schema.features import FULL
from vmafarm.scoring.pools import pool
from vmafarm.shards.frames_file import frames_of, read_frames
from vmafarm.shards.journal import read_journal

Row = Mapping[str, Any]
NAMES = FULL.must_measure
FRAMES = 10


def values_of(clip: str) -> dict[str, NDArray[np.float64]]:
    """Values of a clip that was never scored: they depend on its name alone."""
    generator = np.random.default_rng(list(clip.encode()))
    return {name: generator.random(FRAMES) for name in NAMES}


def pooled(row: Row, values: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """The row with the means and standard deviations of these frames."""
    return dict(row) | {
        f"{name}_{what}": value
        for name in NAMES
        for what, value in pool(values[name], ("mean", "std")).items()
    }


def are_made_up(row: Row, table: pa.Table) -> bool:
    """Whether the frames of a row are those of `values_of`."""
    made = values_of(row["clip_name"])
    return all(np.array_equal(table[name].to_numpy(), made[name]) for name in NAMES)


def are_pooled(row: Row, table: pa.Table) -> bool:
    """Whether the frames of a row give its means and standard deviations."""
    return all(
        np.array_equal([row[f"{name}_{what}"]], [value], equal_nan=True)
        for name in NAMES
        for what, value in pool(table[name].to_numpy(), ("mean", "std")).items()
    )


def lost_frames(folder: RunFolder, are_right: Callable[[Row, pa.Table], bool]) -> list[str]:
    """Rows in any shard or journal whose frames are not with them, or are others."""
    lost = []
    for path in sorted(folder.shards.glob("slice-*/*")):
        if path.suffix not in (".parquet", ".journal") or path.name.startswith("."):
            continue
        kept: dict[str, pa.Table] = {}
        for file in frames_of(folder, path):
            try:
                kept |= read_frames(file, NAMES)
            except FileNotFoundError:
                continue
            except (OSError, DamagedError) as error:
                lost.append(f"{file.name}: {error}")
        for row in _rows(path):
            name = row["clip_name"]
            if name not in kept:
                lost.append(f"frames of {name!r} in {path.name}")
            elif not are_right(row, kept[name]):
                lost.append(f"frames of {name!r} in {path.name} have other values")
    return lost


def _rows(path: Path) -> list[Row]:
    if path.suffix == ".journal":
        return [row for row, _ in read_journal(path).rows]
    try:
        rows: list[Row] = open_sealed(path).read().to_pylist()
    except (OSError, DamagedError):  # where an fsync was taken away: no row of it counts
        return []
    return rows
