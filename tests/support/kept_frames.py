"""Runs of which frames are kept, for tests of what reads them; no clip is scored."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from support.merge_helpers import NOW, Run, log_entry, make_row, plan_run

from vmafarm.disk.jsonl import checked_line, read_checked
from vmafarm.schema.features import FULL
from vmafarm.scoring.pools import pool
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, write_clip_log
from vmafarm.shards.frames_file import FramesWriter, frame_features

Values = Mapping[str, NDArray[np.float64]]
FRAMES = 5


def keep_run(root: Path, clips: Iterable[str] | dict[str, float], plan: str = "identity") -> Run:
    """As `support.merge_helpers.plan_run`, of a run that keeps frames."""
    run = plan_run(root, clips)
    set_frames(run, True)
    run.provenance = replace(run.provenance, plan=plan)
    run.folder.provenance.write_text(run.provenance.as_json())
    return run


def set_frames(run: Run, keep: bool) -> None:
    """Change whether a run keeps frames."""
    run.config = run.config.model_copy(
        update={"engine": run.config.engine.model_copy(update={"frames": keep})}
    )


def frames_for(clip: str) -> dict[str, NDArray[np.float64]]:
    """Values of each measured feature, which depend on the name alone; NaN where none is measured."""
    draw = np.random.default_rng(list(clip.encode()))
    count = FRAMES + len(clip) % 3
    values = {name: draw.uniform(1, 2, count) for name in FULL.must_measure}
    return {name: values.get(name, np.full(count, np.nan)) for name in FULL.names}


def rows_for(
    clips: Iterable[str], shift: Mapping[str, float] | None = None, given: Values | None = None
) -> list[dict]:
    """Rows with the pools of `frames_for`, to which something may be added, or of what is given."""
    rows = []
    for clip in clips:
        found = given or frames_for(clip)
        values = {name: found[name] + (shift or {}).get(name, 0.0) for name in FULL.must_measure}
        pools = {
            f"{name}_{one}": found
            for name, each in values.items()
            for one, found in pool(each, FULL.pools).items()
        }
        rows.append(make_row(clip, **pools))
    return rows


def keep_frames(
    run: Run, clips: Collection[str], writer: str = "w", *, ended: bool = True, minutes: float = 1,
    rows: Collection | None = None, kept: Collection[str] | None = None,
    shift: Mapping[str, float] | None = None, logged: Mapping[str, int] | None = None,
    values: Values | None = None,
) -> None:  # fmt: skip
    """Write frames, rows and clip log of clips as a writer does.

    Parameters
    ----------
    run
        Of `keep_run`.
    clips
        Names; all of slice 0.
    writer
        Its name.
    ended
        Whether it ended; else it was killed, and its journals are left.
    minutes
        When its clips were finished.
    rows
        Rows, or names of the clips with one; None: all have the row of `rows_for`.
    kept
        Clips whose frames are kept; None: all.
    shift
        What is added to the values of a feature.
    logged
        Frames by the clip log, where it is wrong.
    values
        Of each feature, in place of those of `frames_for`.
    """
    frames = FramesWriter(run.folder, 0, writer, run.provenance)
    for clip in clips if kept is None else kept:
        found = values or frames_for(clip)
        own = {name: found[name] + (shift or {}).get(name, 0.0) for name in frame_features(run.provenance)}
        frames.append(clip, own, len(own["motion"]))
    if ended:
        frames.close()
    if rows is None or all(isinstance(one, str) for one in rows):
        rows = rows_for(clips if rows is None else rows, shift, values)
    counts = {row["clip_name"]: len((values or frames_for(row["clip_name"]))["motion"]) for row in rows}
    counts |= logged or {}
    if ended:
        run.shard(rows, writer=writer)
        at = NOW + timedelta(minutes=minutes)
        entries = [
            log_entry(clip, 1.0, writer, 0, at) | {"frames": count, "finite_frames": count}
            for clip, count in counts.items()
        ]
        path = run.folder.clip_log(0, writer)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_clip_log(pa.Table.from_pylist(entries, schema=CLIP_LOG_SCHEMA), file)
        return
    path = run.journal(rows, writer=writer)
    records = [json.loads(line) for line in read_checked(path)[0]]
    for record in records[1:]:
        count = counts[record["row"]["clip_name"]]
        record["log"] |= {"frames": count, "finite_frames": count}
    path.write_bytes(b"".join(map(checked_line, records)))
